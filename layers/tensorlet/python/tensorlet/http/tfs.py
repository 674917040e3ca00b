"""The routes of the TensorFlow Serving REST API.

Source: tensorflow/serving, api_rest.md and http_rest_api_handler.cc.
"""

from typing import TYPE_CHECKING, Any

from tensorlet.errors import AliasNotFound, InvalidRequest, ModelNotFound, VersionNotFound
from tensorlet.http.message import JSON, Request, Response
from tensorlet.http.v2 import json_response
from tensorlet.protocols import tfs
from tensorlet.registry.manifest import Manifest
from tensorlet.signature import TensorSpec
from tensorlet.tensors import DATATYPES

if TYPE_CHECKING:
    from tensorlet.http.app import App

MAX_INT64 = 2**63 - 1


def predict(app: "App", request: Request, model: str, version: str | None, label: str | None) -> Response:
    selector = _selector(request, version, label)
    try:
        loaded = app.service.model(model, selector)
    except (ModelNotFound, VersionNotFound):
        wanted = f"Specific({model}, {selector})" if version else f"Latest({model})"
        raise ModelNotFound(f"Servable not found for request: {wanted}") from None
    except AliasNotFound:
        raise InvalidRequest(f"Unrecognized servable version label: {label}") from None
    call = tfs.decode_predict(bytes(request.body), loaded.signature, app.limits)
    outputs = loaded.infer(call.inputs)
    body = tfs.encode_predict(call, outputs, loaded.signature)
    headers = {
        "content-type": JSON,
        "tensorlet-model": loaded.name,
        "tensorlet-artifact": loaded.artifact.files[0].path,
    }
    return Response(200, headers, body)


def status(app: "App", request: Request, model: str, version: str | None, label: str | None) -> Response:
    """All versions, newest first; with a version or label only that one."""
    selector = _selector(request, version, label)
    versions = (
        [_release(app, model, selector, label).version]
        if selector
        else app.service.registry.versions(model)[::-1]
    )
    if not versions:
        raise ModelNotFound(f"Could not find any versions of model {model}")
    return json_response(
        {
            "model_version_status": [
                {
                    "version": str(number),
                    "state": "AVAILABLE",
                    "status": {"error_code": "OK", "error_message": ""},
                }
                for number in versions
            ]
        }
    )


def metadata(app: "App", request: Request, model: str, version: str | None, label: str | None) -> Response:
    manifest = _release(app, model, _selector(request, version, label), label)
    signature = {
        "inputs": {spec.name: _tensor_info(spec) for spec in manifest.signature.inputs},
        "outputs": {spec.name: _tensor_info(spec) for spec in manifest.signature.outputs},
        "method_name": "tensorflow/serving/predict",
        "defaults": {},
    }
    return json_response(
        {
            "model_spec": {"name": manifest.model, "signature_name": "", "version": str(manifest.version)},
            # The doubled key is what TensorFlow Serving's SignatureDefMap message prints as.
            "metadata": {"signature_def": {"signature_def": {tfs.DEFAULT_SIGNATURE: signature}}},
        }
    )


def _selector(request: Request, version: str | None, label: str | None) -> str | None:
    """The version digits or the label; a version of other characters is no path of this protocol."""
    if version is None:
        return label
    if not version.isascii() or not version.isdecimal():
        raise InvalidRequest(f"Malformed request: {request.method} {request.path}")
    if int(version) > MAX_INT64:
        raise InvalidRequest(f"Failed to convert version: {version} to numeric.")
    return version


def _release(app: "App", model: str, selector: str | None, label: str | None) -> Manifest:
    try:
        return app.service.release(model, selector).manifest
    except ModelNotFound:
        raise ModelNotFound(f"Could not find any versions of model {model}") from None
    except VersionNotFound:
        raise VersionNotFound(f"Could not find version {selector} of model {model}") from None
    except AliasNotFound:
        raise InvalidRequest(f"Unrecognized servable version label: {label}") from None


def _tensor_info(spec: TensorSpec) -> dict[str, Any]:
    """A TensorInfo message as protobuf's JSON prints it: dimension sizes are strings."""
    return {
        "dtype": DATATYPES[spec.datatype].tensorflow,
        "tensor_shape": {
            "dim": [{"size": str(dim), "name": ""} for dim in spec.shape],
            "unknown_rank": False,
        },
        "name": f"{spec.name}:0",
    }
