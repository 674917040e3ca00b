"""The generate routes of the Open Inference Protocol. Source: generate_rest.yaml; Triton, extension_generate.md."""

from tensorlet.http.inference import infer as run
from tensorlet.http.inference import requested
from tensorlet.http.message import JSON, Request, Response
from tensorlet.protocols import generate as codec
from tensorlet.serving.service import ModelService

EVENT_STREAM = "text/event-stream"


def generate(service: ModelService, request: Request, model: str, version: str | None) -> Response:
    loaded = requested(service, request, model, version)
    manifest = loaded.manifest
    body, headers = run(
        loaded,
        request,
        lambda: codec.decode_generate(bytes(request.body), loaded.signature, service.settings),
        lambda call, outputs: codec.encode_generate(manifest.model, manifest.version, call, outputs),
    )
    return Response(200, {"content-type": JSON, **headers}, body)


def generate_stream(service: ModelService, request: Request, model: str, version: str | None) -> Response:
    """The same answer as a stream of one event: an ONNX or TFLite model gives its whole answer at once."""
    answer = generate(service, request, model, version)
    return answer._replace(
        headers={**answer.headers, "content-type": EVENT_STREAM}, body=codec.encode_event(answer.body)
    )
