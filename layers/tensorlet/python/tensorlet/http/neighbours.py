"""The routes of SageMaker's and MLflow's scoring servers: `/invocations` and `/ping`."""

from tensorlet.errors import ModelUnavailable, RouteNotFound
from tensorlet.http.inference import infer as run
from tensorlet.http.inference import requested
from tensorlet.http.message import JSON, Request, Response, json_response
from tensorlet.protocols import invocations, tfs_reply
from tensorlet.protocols.tfs import PredictRequest
from tensorlet.serving.service import ModelService

CSV = "text/csv"


def invoke(service: ModelService, request: Request, model: str | None = None) -> Response:
    """`/invocations/{model}`, or `/invocations` for the model of the setting."""
    name, selector = (model, None) if model else _the_model(service)
    loaded = requested(service, request, name, selector)
    signature = loaded.signature
    is_csv = request.headers.get("content-type", "").startswith(CSV)
    wants_csv = CSV in request.headers.get("accept", "")
    body, headers = run(
        loaded,
        request,
        lambda: invocations.decode_invocation(bytes(request.body), is_csv, signature, service.settings),
        lambda call, outputs: (
            invocations.encode_csv(outputs, signature)
            if wants_csv
            else tfs_reply.encode_predict(PredictRequest(call.inputs, True), outputs, signature)
        ),
    )
    return Response(200, {"content-type": CSV if wants_csv else JSON, **headers}, body)


def ping(service: ModelService, request: Request) -> Response:
    """Healthy, and the model of the setting, if there is one, can answer."""
    if service.settings.model:
        name, selector = _the_model(service)
        manifest = service.release(name, selector).manifest
        state = service.state(manifest.model, manifest.version)
        if state.name == "UNAVAILABLE":
            raise ModelUnavailable(f"model {name!r} is not ready: {state.reason}")
    return json_response({})


def _the_model(service: ModelService) -> tuple[str, str | None]:
    """Raises RouteNotFound where the setting is empty."""
    if not service.settings.model:
        raise RouteNotFound(
            "/invocations: this server serves several models; use /invocations/{model}, or set TENSORLET_MODEL"
        )
    name, _, selector = service.settings.model.partition("@")
    return name, selector or None
