"""Processes that open files of strangers: without credentials, and where the system allows it without a network.

On Linux that is `unshare` (util-linux) with user, network and mount namespaces: no interface but a loopback that is
down, and empty folders where credentials lie. A second user namespace inside takes away the right to undo the
mounts. Containers and some distributions forbid such namespaces; `network_open` says so, and the rest still holds.

Source: Linux manual, user_namespaces(7), network_namespaces(7), mount_namespaces(7).
"""

import errno
import os
import re
import shutil
import signal
import site
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

SECRETS = re.compile(r"AWS_|AZURE_|GOOGLE_|GCP_|.*(TOKEN|SECRET|PASSWORD|CREDENTIAL|API_?KEY)", re.IGNORECASE)
SECRET_FOLDERS = (".aws", ".azure", ".config/gcloud", ".docker", ".gnupg", ".kube", ".ssh")
UNSHARE = ("unshare", "--user", "--map-root-user")
# Arguments: folders to hide, `--`, the command.
HIDE = (
    'while [ "$1" != -- ]; do mount -t tmpfs -o ro none "$1" || exit 125; shift; done;'
    f' shift; exec {" ".join(UNSHARE)} "$@"'
)


def run_confined(
    command: Sequence[str],
    home: Path,
    timeout_s: float,
    environ: Mapping[str, str] | None = None,
    *,
    own_home: bool = True,
) -> "subprocess.CompletedProcess[bytes]":
    """Run `command` to its end, keeping what it writes to stderr.

    Its home is the folder `home`, so that it finds no credentials of the user's there. With `own_home=False`,
    for code of the user's own, it keeps the user's home and the network, and only the environment is cleaned.

    Raises:
        subprocess.TimeoutExpired: after `timeout_s` seconds; the process is gone.
        OSError: the command cannot be started.
    """
    if not shutil.which(command[0]):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), command[0])
    environment = without_credentials(os.environ) | dict(environ or {})
    if own_home:
        # Packages installed for the user alone are found through the home that we take away.
        environment |= {"HOME": str(home), "PYTHONUSERBASE": site.getuserbase()}
        command = [*_prefix(), *command]
    return subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        timeout=timeout_s,
    )


def without_credentials(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if not SECRETS.match(name)}


@cache
def network_open() -> str:
    """Why confined processes can use the network on this system; "" where they cannot."""
    if sys.platform != "linux":
        return f"{sys.platform} has no namespaces"
    try:
        done = subprocess.run(
            [*UNSHARE, "--net", "--mount", "sh", "-c", HIDE, "sh", "--", "true"],
            capture_output=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"unshare cannot be run: {error}"
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return (lines[-1] if lines else f"unshare ended with status {done.returncode}") if done.returncode else ""


def ended(done: "subprocess.CompletedProcess[bytes]") -> str:
    """How a process that failed ended: the signal that killed it, the last line it said, or its status."""
    if done.returncode < 0:
        return f"crashed ({signal.Signals(-done.returncode).name})"
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return f"failed: {lines[-1] if lines else f'exit status {done.returncode}'}"


def _prefix() -> list[str]:
    if network_open():
        return []
    home = Path.home()
    hidden = [str(home / name) for name in SECRET_FOLDERS if (home / name).is_dir()]
    return [*UNSHARE, "--net", "--mount", "sh", "-c", HIDE, "sh", *hidden, "--"]
