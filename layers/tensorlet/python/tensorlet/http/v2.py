"""The routes of the Open Inference Protocol (V2). Source: inference_rest.md, and Triton for what it leaves open."""

from typing import TYPE_CHECKING, Any

from tensorlet import __version__
from tensorlet.errors import InvalidRequest, ModelUnavailable
from tensorlet.http.message import JSON, OCTETS, Request, Response
from tensorlet.protocols import v2
from tensorlet.protocols.json_body import dump_json
from tensorlet.registry.manifest import Manifest

if TYPE_CHECKING:
    from tensorlet.http.app import App

EXTENSIONS = ["binary_tensor_data", "classification"]
JSON_SIZE_HEADER = "inference-header-content-length"
PLATFORMS = {"onnx": "onnx_onnxv1", "tflite": "tensorflow_tflite"}


def infer(app: "App", request: Request, model: str, version: str | None) -> Response:
    loaded = app.service.model(model, version)
    call = v2.decode_infer(request.body, json_size(request.headers), loaded.signature, app.limits)
    outputs = loaded.infer(call.inputs)
    labels = loaded.manifest.document.get("labels") or {}
    reply = v2.encode_infer(loaded.manifest.model, loaded.manifest.version, call, outputs, labels)
    headers = {
        "content-type": JSON,
        "tensorlet-model": loaded.name,
        "tensorlet-artifact": loaded.artifact.files[0].path,
    }
    if reply.json_size is not None:
        headers["content-type"] = OCTETS
        headers[JSON_SIZE_HEADER] = str(reply.json_size)
    return Response(200, headers, reply.body)


def server_metadata(app: "App", request: Request) -> Response:
    return json_response({"name": "tensorlet", "version": __version__, "extensions": EXTENSIONS})


def live(app: "App", request: Request) -> Response:
    return json_response({"live": True})


def ready(app: "App", request: Request) -> Response:
    # Both members: the specification writes `live` here, KServe's client reads `ready`.
    return json_response({"live": True, "ready": True})


def models(app: "App", request: Request) -> Response:
    return json_response({"models": app.service.registry.models()})


def model_metadata(app: "App", request: Request, model: str, version: str | None) -> Response:
    manifest = app.service.release(model, version).manifest
    artifact = manifest.artifact(app.limits.runtime)
    versions = [manifest.version] if version else app.service.registry.versions(model)
    return json_response(
        {
            "name": manifest.model,
            "versions": [str(number) for number in versions],
            "platform": PLATFORMS[artifact.format],
            **manifest.signature.to_json(),
            "properties": {"artifact": artifact.files[0].path, "sha256": artifact.files[0].sha256},
        },
        {"tensorlet-model": f"{manifest.model}/{manifest.version}"},
    )


def model_ready(app: "App", request: Request, model: str, version: str | None) -> Response:
    """Ready means: the manifest is there and a runtime here serves one of its artifacts, loaded or not."""
    manifest: Manifest = app.service.release(model, version).manifest
    if manifest.artifact(app.limits.runtime).format not in PLATFORMS:
        raise ModelUnavailable(f"{model}: no runtime here serves its artifacts")
    return json_response(
        {"name": manifest.model, "ready": True}, {"tensorlet-model": f"{manifest.model}/{manifest.version}"}
    )


def json_response(document: Any, headers: dict[str, str] | None = None) -> Response:
    return Response(200, {"content-type": JSON, **(headers or {})}, dump_json(document))


def json_size(headers: dict[str, str]) -> int | None:
    """The length of the JSON before binary tensors, None where there are none. Raises InvalidRequest."""
    text = headers.get(JSON_SIZE_HEADER)
    if text is None:
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > 18:
        raise InvalidRequest(f"{JSON_SIZE_HEADER}: expected a number of bytes, got {text[:64]!r}")
    return int(text)
