"""The generate routes of the Open Inference Protocol. Source: generate_rest.yaml; Triton, extension_generate.md."""

from typing import TYPE_CHECKING

from tensorlet.http.inference import infer as run
from tensorlet.http.inference import model_headers
from tensorlet.http.message import JSON, Request, Response
from tensorlet.protocols import generate as codec

if TYPE_CHECKING:
    from tensorlet.http.app import App

EVENT_STREAM = "text/event-stream"


def generate(app: "App", request: Request, model: str, version: str | None) -> Response:
    loaded = app.service.model(model, version)
    manifest = loaded.manifest
    body = run(
        loaded,
        lambda: codec.decode_generate(bytes(request.body), loaded.signature, app.limits),
        lambda call, outputs: codec.encode_generate(manifest.model, manifest.version, call, outputs),
    )
    return Response(200, {"content-type": JSON, **model_headers(loaded)}, body)


def generate_stream(app: "App", request: Request, model: str, version: str | None) -> Response:
    """The same answer as a stream of one event: an ONNX or TFLite model gives its whole answer at once."""
    answer = generate(app, request, model, version)
    return answer._replace(
        headers={**answer.headers, "content-type": EVENT_STREAM}, body=codec.encode_event(answer.body)
    )
