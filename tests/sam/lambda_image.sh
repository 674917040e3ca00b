#!/bin/bash
# Make the stand-in for AWS's python3.13 image from Debian's packages: tests/sam/lambda_image.sh [TAG]
#
# `sam local` wants an image with the Lambda runtime client in it. This one has Python 3.13, boto3 and
# awslambdaric where Lambda has them, takes about 11 seconds, and nothing when it is already there.
# It differs from Lambda in its glibc (2.41, Lambda has 2.34), so tests/sam also checks the layer's wheel tags.
# Needs root, a running Docker engine (.ci/docker) and mmdebstrap. SAM runs sh, mv, chmod, cp and rm inside.
set -euo pipefail

TAG=${1:-${LAMBDA_IMAGE:-lambda-standin/python:3.13-x86_64}}
REQUIREMENTS="awslambdaric==4.2.2 boto3==1.43.40"   # Lambda's own boto3 trails the newest release

key=$(cat "$0" <(echo "$REQUIREMENTS") | sha256sum | cut -c1-16)
[ "$(docker image inspect -f '{{index .Config.Labels "standin.key"}}' "$TAG" 2>/dev/null)" = "$key" ] && exit 0

work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
root=$work/rootfs

"${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-warn-conflicts --no-compile \
  --target "$work/runtime" --python-version 3.13 --implementation cp --only-binary=:all: \
  --platform manylinux_2_28_x86_64 --platform manylinux2014_x86_64 $REQUIREMENTS &
mmdebstrap --quiet --variant=extract \
  --include=base-files,dash,coreutils,python3.13-minimal,libpython3.13-stdlib,libstdc++6,zlib1g trixie "$root"
wait $!

# Only unpacked, no package was configured: make by hand the few things their set-up would have made.
mkdir -p "$root"/var/{runtime,task,rapid} "$root"/opt "$root"/usr/local/bin "$root"/etc/ssl/certs "$root"/tmp
chmod 1777 "$root/tmp"
cp -a "$work/runtime/." "$root/var/runtime/"
cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
ln -sf /usr/bin/python3.13 "$root/usr/local/bin/python3"
rm -rf "$root"/usr/share/{doc,man,locale,info} "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/*

cat > "$root/var/runtime/bootstrap" <<'BOOTSTRAP'
#!/bin/sh
export PYTHONPATH="${LAMBDA_TASK_ROOT:-/var/task}:/opt/python/lib/python3.13/site-packages:/opt/python:/var/runtime"
export AWS_EXECUTION_ENV=AWS_Lambda_python3.13 LANG=en_US.UTF-8 TZ=:UTC
exec /usr/bin/python3.13 -m awslambdaric "$_HANDLER"
BOOTSTRAP
chmod +x "$root/var/runtime/bootstrap"

# Lambda's boto3 is byte-compiled too; without it a cold handler takes seconds longer than on AWS.
chroot "$root" /usr/bin/python3.13 -m compileall -q --invalidation-mode unchecked-hash /usr/lib/python3.13 /var/runtime

tar -C "$root" --numeric-owner -cf - . | docker import \
  -c 'ENV LAMBDA_TASK_ROOT=/var/task LAMBDA_RUNTIME_DIR=/var/runtime PATH=/usr/local/bin:/usr/bin:/bin:/opt/bin LD_LIBRARY_PATH=/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib' \
  -c 'WORKDIR /var/task' -c "LABEL standin.key=$key" - "$TAG" >/dev/null
echo "made the image $TAG"
