"""What the cold path imports: every module costs milliseconds of each cold start, so each has a reason here.

Milliseconds are measured in benchmarks/; a list of names is steadier.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tensorlet.registry.registry import Registry
from tensorlet.registry.store import open_store
from tensorlet.registry.writer import publish_version, set_alias, sign_version
from tensorlet.runtimes import load_session

from tests.keys import make_keys
from tests.models import linear

FUNCTION = Path(__file__).parents[2] / "functions" / "predict"
TFLITE = Path(__file__).parents[1] / "data" / "dynamic.tflite"

# Third-party packages, and why each is worth its time.
PACKAGES = {
    "tensorlet": "the service itself",
    "obstore": "all object storage; a tenth of boto3's time to the first byte of a model",
}

# Parts of the package that no request needs.
ABSENT = {"batch", "cli", "local", "publish"}

# The standard library beyond what Lambda's runtime client has imported by then, and who needs it.
STANDARD_LIBRARY = {
    "array": "numbers of a JSON tensor as a buffer",
    "ctypes": "the C libraries of both runtimes, driven without NumPy",
    "datetime": "obstore, for times",
    "hashlib": "digests of artifacts",
    "struct": "ctypes",
    "typing": "NamedTuple and Protocol",
}
RUNTIME_CLIENT = {  # awslambdaric 4.2
    "collections", "contextlib", "copyreg", "decimal", "enum", "functools", "importlib", "json", "keyword", "linecache",
    "logging", "math", "numbers", "operator", "re", "reprlib", "string", "textwrap", "threading", "time", "traceback",
    "types", "warnings", "weakref",
}  # fmt: skip
FORBIDDEN = {
    "boto3",
    "botocore",
    "numpy",
    "pydantic",
    "fastapi",
    "aws_lambda_powertools",
    "onnxruntime",
    "asyncio",
}

COLD_START = """
import json, sys
before = set(sys.modules)
event = json.loads(sys.stdin.read())
import app
reply = app.handler(event, None)
print(json.dumps({"reply": reply, "modules": sorted(set(sys.modules) - before - {"app"})}))
"""


# What judges signatures, where keys are set and nowhere else.
TRUST = {f"tensorlet.registry.{name}" for name in ("attestation", "keys", "libcrypto", "trust")}


def cold_start(registry, name, tensor, **settings):
    """The reply of a fresh process to one V2 request, and the modules it imported."""
    tensor = {"datatype": "FP32", **tensor}
    event = {
        "version": "2.0",
        "rawPath": f"/v2/models/{name}/infer",
        "headers": {"content-type": "application/json"},
        "requestContext": {"http": {"method": "POST"}, "stage": "$default"},
        "body": json.dumps({"inputs": [tensor]}),
        "isBase64Encoded": False,
    }
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("TENSORLET_", "COV_"))}
    done = subprocess.run(
        [sys.executable, "-c", COLD_START],
        input=json.dumps(event),
        env=environ | {"PYTHONPATH": str(FUNCTION), "TENSORLET_REGISTRY": registry} | settings,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])  # after the line about the cold start
    return found["reply"], set(found["modules"])


def publish(registry, format, model, folder):
    path = folder / f"model.{format}"
    path.write_bytes(model)
    manifest = {
        "signature": load_session(format, model).signature.to_json(),
        "artifacts": [{"id": format, "format": format, "precision": "fp32", "files": [{"path": path.name}]}],
        "default_artifact": format,
    }
    publish_version(open_store(registry), format, manifest, {path.name: path})


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(
            ("onnx", linear(), {"name": "image", "shape": [1, 4], "data": [1, 2, 3, 4]}), id="ONNX Runtime"
        ),
        pytest.param(
            ("tflite", TFLITE.read_bytes(), {"name": "x", "shape": [1, 3], "data": [1, 2, 3]}), id="LiteRT"
        ),
    ],
)
def answered(request, tmp_path_factory):
    format, model, tensor = request.param
    folder = tmp_path_factory.mktemp("cold")
    registry = f"file://{folder}/registry"
    publish(registry, format, model, folder)
    return cold_start(registry, format, tensor)


@pytest.fixture
def modules(answered):
    reply, modules = answered
    assert reply["statusCode"] == 200, reply
    return modules


def test_the_cold_path_imports_no_package_without_a_reason(modules):
    """A new one needs an entry in PACKAGES, and a measurement."""
    packages = {name.partition(".")[0] for name in modules} - sys.stdlib_module_names

    assert packages == set(PACKAGES)
    assert not packages & FORBIDDEN


def test_the_cold_path_imports_no_standard_module_without_a_reason(modules):
    """One that nobody imports any more has to leave the list. Names with an underscore are parts of the others."""
    own = {name.partition(".")[0] for name in modules} & sys.stdlib_module_names
    public = {name for name in own if not name.startswith("_")}

    assert public - RUNTIME_CLIENT == set(STANDARD_LIBRARY)


def test_the_cold_path_leaves_out_the_parts_that_no_request_needs(modules):
    parts = {name.split(".")[1] for name in modules if name.startswith("tensorlet.")}

    assert not parts & ABSENT
    assert not TRUST & modules


def test_where_keys_are_set_only_what_judges_signatures_is_imported_as_well(tmp_path):
    keys = make_keys(tmp_path)
    registry = f"file://{tmp_path}/registry"
    publish(registry, "onnx", linear(), tmp_path)
    store = open_store(registry)
    sign_version(Registry([store]).release("onnx", 1), keys.signer)
    set_alias(store, "onnx", "live", 1, signer=keys.signer)
    tensor = {"name": "image", "shape": [1, 4], "data": [1, 2, 3, 4]}

    reply, modules = cold_start(registry, "onnx", tensor, TENSORLET_TRUSTED_KEYS=str(keys.public))

    assert reply["statusCode"] == 200, reply
    assert {name for name in modules if name.startswith("tensorlet.registry.")} >= TRUST
    assert {name.partition(".")[0] for name in modules} - sys.stdlib_module_names == set(PACKAGES)
    own = {name.partition(".")[0] for name in modules} & sys.stdlib_module_names
    assert {name for name in own if not name.startswith("_")} - RUNTIME_CLIENT - set(STANDARD_LIBRARY) <= {
        "binascii"
    }
