"""The routes of the Open Inference Protocol (V2). Source: inference_rest.md, and Triton for what it leaves open."""

from tensorlet import __version__
from tensorlet.errors import InvalidRequest, ModelUnavailable, UnsupportedFeature
from tensorlet.http.inference import infer as run
from tensorlet.http.inference import requested
from tensorlet.http.message import JSON, OCTETS, Request, Response, json_response
from tensorlet.protocols import v2, v2_reply
from tensorlet.registry.manifest import Manifest
from tensorlet.serving.service import ModelService

# Names from Triton's server metadata; only what works is in the list.
EXTENSIONS = [
    "classification",
    "model_repository",
    "model_configuration",
    "binary_tensor_data",
    "statistics",
    "generate",
]
JSON_SIZE_HEADER = "inference-header-content-length"
# SageMaker's spelling carries the size in the media type, which survives proxies that drop unknown headers.
SAGEMAKER_BINARY = "application/vnd.sagemaker-triton.binary+json;json-header-size="
PLATFORMS = {"onnx": "onnx_onnxv1", "tflite": "tensorflow_tflite"}


def infer(service: ModelService, request: Request, model: str, version: str | None) -> Response:
    loaded = requested(service, request, model, version)
    manifest, headers = loaded.manifest, request.headers

    reply, answer = run(
        loaded,
        request,
        lambda: v2.decode_infer(request.body, json_size(headers), loaded.signature, service.settings),
        lambda call, outputs: v2_reply.encode_infer(
            manifest.model, manifest.version, call, outputs, manifest.document.get("labels") or ()
        ),
        lambda call: (
            service.model(model, str(manifest.version), call.precision) if call.precision else loaded
        ),
    )
    if reply.json_size is None:
        answer["content-type"] = JSON
    elif JSON_SIZE_HEADER not in headers and _sagemaker_size(headers.get("content-type", "")):
        answer["content-type"] = f"{SAGEMAKER_BINARY}{reply.json_size}"
    else:
        answer["content-type"] = OCTETS
        answer[JSON_SIZE_HEADER] = str(reply.json_size)
    return Response(200, answer, reply.body)


def server_metadata(service: ModelService, request: Request) -> Response:
    return json_response({"name": "tensorlet", "version": __version__, "extensions": EXTENSIONS})


def live(service: ModelService, request: Request) -> Response:
    return json_response({"live": True})


def ready(service: ModelService, request: Request) -> Response:
    # Both members: the specification writes `live` here, KServe's client reads `ready`.
    return json_response({"live": True, "ready": True})


def models(service: ModelService, request: Request) -> Response:
    return json_response({"models": service.registry.models()})


def model_metadata(service: ModelService, request: Request, model: str, version: str | None) -> Response:
    manifest = service.release(model, version).manifest
    artifact = manifest.artifact(service.settings.runtime)
    versions = [manifest.version] if version else service.registry.versions(model)
    return json_response(
        {
            "name": manifest.model,
            "versions": [str(number) for number in versions],
            "platform": platform(artifact.format, model),
            **manifest.signature.to_json(),
            "properties": {"artifact": artifact.files[0].path, "sha256": artifact.files[0].sha256},
        },
        model_header(manifest),
    )


def model_ready(service: ModelService, request: Request, model: str, version: str | None) -> Response:
    """Ready means: the manifest is there, a runtime here serves one of its artifacts, and none was refused."""
    manifest = service.release(model, version).manifest
    platform(manifest.artifact(service.settings.runtime).format, model)
    state = service.state(manifest.model, manifest.version)
    if state.name == "UNAVAILABLE":
        raise ModelUnavailable(f"model {model!r} is not ready: {state.reason}")
    return json_response({"name": manifest.model, "ready": True}, model_header(manifest))


def unsupported(service: ModelService, request: Request, **names: str | None) -> Response:
    """Tracing, log settings and shared memory belong to a server that is one long-lived machine."""
    raise UnsupportedFeature(f"{request.path}: not supported by this server")


def platform(format: str, model: str) -> str:
    """The protocol's name of an artifact's format. Raises ModelUnavailable."""
    if format not in PLATFORMS:
        raise ModelUnavailable(f"model {model!r}: no runtime here serves the format {format!r}")
    return PLATFORMS[format]


def model_header(manifest: Manifest) -> dict[str, str]:
    return {"tensorlet-model": f"{manifest.model}/{manifest.version}"}


def json_size(headers: dict[str, str]) -> int | None:
    """The length of the JSON before binary tensors, None where there are none. Raises InvalidRequest."""
    text = headers.get(JSON_SIZE_HEADER)
    if text is None:
        text = _sagemaker_size(headers.get("content-type", ""))
        if text is None:
            return None
    if not text.isascii() or not text.isdecimal() or len(text) > 18:
        raise InvalidRequest(f"{JSON_SIZE_HEADER}: expected a number of bytes, got {text[:64]!r}")
    return int(text)


def _sagemaker_size(content_type: str) -> str | None:
    if "sagemaker" not in content_type.lower():  # nearly always
        return None
    _, found, size = content_type.replace(" ", "").lower().partition(SAGEMAKER_BINARY)
    return size.partition(";")[0] if found else None
