"""The commands of docs/trust.md work as they stand, in their order, with a key in (moto's) KMS where one is needed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.models import linear

PAGE = (Path(__file__).parents[2] / "docs" / "trust.md").read_text()

pytestmark = [pytest.mark.slow, pytest.mark.stack]


@pytest.fixture(scope="module")
def kms():
    """The environment of a shell that has a key in KMS."""
    server = ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    environ = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_ENDPOINT_URL_KMS": f"http://{host}:{port}",
    }
    client = boto3.client(
        "kms",
        region_name="eu-central-1",
        endpoint_url=environ["AWS_ENDPOINT_URL_KMS"],
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    key = client.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["Arn"]
    yield {**environ, "KMS_KEY": key}
    server.stop()


def test_the_page_works_from_top_to_bottom(tmp_path, kms):
    (tmp_path / "churn.onnx").write_bytes(linear())
    script = "\n".join(re.findall(r"^```sh\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))
    environ = {key: value for key, value in os.environ.items() if not key.startswith("TENSORLET_")}
    environ |= kms | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, env=environ, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr
    assert "Signature Verified Successfully" in done.stdout
    digest = re.search(r'"sha256":"([0-9a-f]{64})"', done.stdout)
    assert digest and f"{digest[1]}  .tensorlet/registry/churn/1/manifest.json" in done.stdout
    assert re.search(r"serial number [0-9]{10}", done.stdout)
    assert (tmp_path / "churn-live.onnx").read_bytes() == linear()


def test_every_error_of_the_page_exists_and_none_is_missing():
    from tensorlet import errors

    named = set(re.findall(r"\| `([A-Z][A-Za-z]+)` \|", PAGE))
    assert named == {"DigestMismatch", *(kind.__name__ for kind in errors.Untrusted.__subclasses__())}


def test_the_command_that_the_parameter_is_made_by_gives_a_key(tmp_path):
    openssl = re.search(r'TrustedKeys="\$\((.*?)\)"', PAGE, re.DOTALL)
    assert openssl
    command = " ".join(openssl[1].split())
    subprocess.run(
        ["openssl", "genpkey", "-algorithm", "ed25519", "-out", tmp_path / "release.pem"], check=True
    )

    key = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    from tensorlet.registry.keys import parse_keys

    [parsed] = parse_keys(key)
    assert parsed.algorithm.name == "Ed25519"
