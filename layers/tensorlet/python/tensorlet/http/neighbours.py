"""The routes of SageMaker's and MLflow's scoring servers: `/invocations` and `/ping`."""

from typing import TYPE_CHECKING

from tensorlet.errors import ModelUnavailable, RouteNotFound
from tensorlet.http.inference import infer as run
from tensorlet.http.inference import model_headers
from tensorlet.http.message import JSON, Request, Response, json_response
from tensorlet.protocols import invocations, tfs_reply
from tensorlet.protocols.tfs import PredictRequest

if TYPE_CHECKING:
    from tensorlet.http.app import App

CSV = "text/csv"


def invoke(app: "App", request: Request, model: str | None = None) -> Response:
    """`/invocations/{model}`, or `/invocations` for the model of the setting."""
    name, selector = (model, None) if model else _the_model(app)
    loaded = app.service.model(name, selector)
    signature = loaded.signature
    is_csv = request.headers.get("content-type", "").startswith(CSV)
    wants_csv = CSV in request.headers.get("accept", "")
    body = run(
        loaded,
        lambda: invocations.decode_invocation(bytes(request.body), is_csv, signature, app.limits),
        lambda call, outputs: (
            invocations.encode_csv(outputs, signature)
            if wants_csv
            else tfs_reply.encode_predict(PredictRequest(call.inputs, True), outputs, signature)
        ),
    )
    return Response(200, {"content-type": CSV if wants_csv else JSON, **model_headers(loaded)}, body)


def ping(app: "App", request: Request) -> Response:
    """Healthy, and the model of the setting, if there is one, can answer."""
    if app.limits.model:
        name, selector = _the_model(app)
        manifest = app.service.release(name, selector).manifest
        state = app.service.state(manifest.model, manifest.version)
        if state.name == "UNAVAILABLE":
            raise ModelUnavailable(f"model {name!r} is not ready: {state.reason}")
    return json_response({})


def _the_model(app: "App") -> tuple[str, str | None]:
    """Raises RouteNotFound where the setting is empty."""
    if not app.limits.model:
        raise RouteNotFound(
            "/invocations: this server serves several models; use /invocations/{model}, or set TENSORLET_MODEL"
        )
    name, _, selector = app.limits.model.partition("@")
    return name, selector or None
