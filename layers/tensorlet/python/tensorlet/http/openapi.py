"""OpenAPI 3.1 documents: one of the server, and one of each model with its own schemas and examples.

Imported only where somebody asks for one. `DESCRIPTIONS` has a row for each row of the route table.
"""

from pathlib import Path
from typing import Any, NamedTuple

from tensorlet import __version__
from tensorlet.errors import RouteNotFound
from tensorlet.http import openapi_schemas as schemas
from tensorlet.http.message import JSON, Request, Response, json_response
from tensorlet.http.openapi_examples import golden_examples
from tensorlet.protocols.tfs_examples import find_roles
from tensorlet.registry.manifest import Manifest
from tensorlet.serving.service import ModelService

HTML = "text/html; charset=utf-8"
OCTETS = "application/octet-stream"
# The page loads nothing but itself, and the document from its own host.
PAGE_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'"


class Operation(NamedTuple):
    """`request` and `reply` name schemas; a reply of "" has no body. `errors` are statuses beside that of the reply."""

    id: str
    tag: str
    summary: str
    request: str = ""
    reply: str = ""
    errors: tuple[int, ...] = ()
    binary: bool = False  # binary tensors may follow the JSON, both ways
    status: int = 200


MODEL_ERRORS = (400, 404, 503)
BODY_ERRORS = (400, 404, 413, 415, 503)
JOB_ERRORS = (400, 404, 413, 415, 501, 503)
V2, TFS, OTHER = "Open Inference Protocol (V2)", "TensorFlow Serving", "Neighbours"
_M = "/v2/models/{model}[/versions/{version}]"
_T = "/v1/models/{model}[/versions/{version}|/labels/{label}]"

DESCRIPTIONS: dict[str, Operation] = {
    f"{_M}/infer": Operation(
        "infer", V2, "Run a model", "InferRequest", "InferReply", BODY_ERRORS, binary=True
    ),
    f"{_T}:predict": Operation(
        "predict", TFS, "Run a model on rows or columns", "PredictRequest", "PredictReply", BODY_ERRORS
    ),
    "/v2[/]": Operation("server_metadata", V2, "What this server is", "", "ServerMetadata"),
    "/v2/health/live": Operation("live", V2, "Whether the server is up", "", "Live"),
    "/v2/health/ready": Operation("ready", V2, "Whether the server can answer", "", "Ready"),
    "/v2/models": Operation("models", V2, "The names of all models", "", "Models", (503,)),
    "/v2/models/stats": Operation(
        "all_statistics", V2, "What the answering process has counted", "", "Statistics", (503,)
    ),
    _M: Operation("model_metadata", V2, "A model's inputs and outputs", "", "ModelMetadata", MODEL_ERRORS),
    f"{_M}/ready": Operation("model_ready", V2, "Whether a model can answer", "", "ModelReady", MODEL_ERRORS),
    f"{_M}/stats": Operation(
        "model_statistics",
        V2,
        "What the answering process has counted for a model",
        "",
        "Statistics",
        MODEL_ERRORS,
    ),
    f"{_M}/config": Operation("config", V2, "A model as Triton describes it", "", "Config", MODEL_ERRORS),
    f"{_M}/generate": Operation(
        "generate", V2, "Values in, values out", "GenerateRequest", "GenerateReply", BODY_ERRORS
    ),
    f"{_M}/generate_stream": Operation(
        "generate_stream", V2, "The same as server-sent events", "GenerateRequest", "EventStream", BODY_ERRORS
    ),
    f"{_M}/explain": Operation(
        "explain", V2, "What moved each answer", "ExplainRequest", "ExplainReply", BODY_ERRORS, binary=True
    ),
    f"{_T}:explain": Operation(
        "explain_rows",
        TFS,
        "What moved each answer, as KServe V1",
        "ExplainRowsRequest",
        "Explanations",
        BODY_ERRORS,
    ),
    f"{_M}/jobs": Operation(
        "create_job", V2, "A link to upload a file of rows to", "JobRequest", "NewJob", JOB_ERRORS, status=202
    ),
    f"{_M}/jobs/{{id}}": Operation(
        "job", V2, "How far a file of rows is, and links to what came out", "", "Job", (404, 501, 503)
    ),
    "/v2/repository/index": Operation(
        "repository_index", V2, "All versions and their state", "IndexRequest", "Index", (400, 413, 415, 503)
    ),
    "/v2/repository/models/{model}/load": Operation(
        "load", V2, "A hint to load a model now", "LoadRequest", "", BODY_ERRORS
    ),
    "/v2/repository/models/{model}/unload": Operation(
        "unload", V2, "A hint to free a model's memory", "LoadRequest", "", BODY_ERRORS
    ),
    f"{_T}:classify": Operation(
        "classify", TFS, "Labels and scores of examples", "ExamplesRequest", "Results", BODY_ERRORS
    ),
    f"{_T}:regress": Operation(
        "regress", TFS, "Values of examples", "ExamplesRequest", "Results", BODY_ERRORS
    ),
    _T: Operation("status", TFS, "The versions of a model and their state", "", "ModelStatus", MODEL_ERRORS),
    f"{_T}/metadata": Operation(
        "metadata", TFS, "A model's signatures", "", "SignatureMetadata", MODEL_ERRORS
    ),
    "/v1/models": Operation(
        "kserve_models", OTHER, "The names of all models, where KServe V1 is on", "", "Models", (400, 503)
    ),
    "/invocations[/{model}]": Operation(
        "invoke", OTHER, "Run a model on a table", "InvocationRequest", "Predictions", BODY_ERRORS
    ),
    "/ping": Operation("ping", OTHER, "Whether the server can answer", "", "Empty", (404, 503)),
    "/openapi.json": Operation("openapi", OTHER, "This document", "", "OpenApi", (503,)),
    "/v2/models/{model}/openapi.json": Operation(
        "model_openapi", OTHER, "This document for one model, with examples", "", "OpenApi", MODEL_ERRORS
    ),
    "/docs": Operation("docs", OTHER, "This document as a page", "", "Page", (404,)),
}
PARAMETERS = {
    "model": ("A model's name", schemas.MODEL_NAME),
    "version": ("A version's number; under /v2 an alias too", schemas.VERSION_OR_ALIAS),
    "label": ("An alias", schemas.ALIAS),
    "id": ("A job's id", schemas.TEXT),
}
ERRORS = {
    400: "The request is not what the route or the model takes",
    404: "No such model, version or path",
    413: "A body, a tensor or a reply is over its limit",
    415: "A Content-Encoding other than gzip, deflate or identity",
    501: "This server has no buckets for files of rows",
    503: "The model or its storage is not available now; see Retry-After",
}
MEDIA = {"Page": "text/html", "EventStream": "text/event-stream"}


def server_document(service: ModelService, request: Request) -> Response:
    from tensorlet.http.routes import ROUTES, documented

    paths: dict[str, Any] = {}
    for route in filter(documented, ROUTES):
        for path in expand(route.path):
            operation = describe(DESCRIPTIONS[route.path], path, parameters(path))
            paths.setdefault(path, {})[route.method.lower()] = operation
    return json_response(document("Tensorlet", "All models of this server.", paths, schemas.COMPONENTS))


def model_document(service: ModelService, request: Request, model: str) -> Response:
    """The routes of one model, with its schemas, and its golden inputs as examples where it has some."""
    from tensorlet.http.routes import ROUTES, documented

    release = service.release(model)
    manifest = release.manifest
    components = schemas.COMPONENTS | schemas.of_model(manifest.signature)
    examples = golden_examples(release)
    methods = {role.method for role in find_roles(manifest.document).values()}
    paths: dict[str, Any] = {}
    for route in filter(documented, ROUTES):
        path = expand(route.path)[-1] if "invocations" in route.path else expand(route.path)[0]
        operation = DESCRIPTIONS[route.path]
        if "{model}" not in path or operation.id in {"classify", "regress"} - methods:
            continue
        path = path.replace("{model}", model)
        described = describe(operation, path, parameters(path), examples.get(operation.id))
        paths.setdefault(path, {})[route.method.lower()] = described
    title = f"{manifest.model} {manifest.version}"
    return json_response(
        document(title, _summary(manifest), paths, components),
        {"tensorlet-model": f"{manifest.model}/{manifest.version}"},
    )


def page(service: ModelService, request: Request) -> Response:
    """The document as a page that loads nothing from another host."""
    if not service.settings.docs:
        raise RouteNotFound("/docs: switched off on this server; set TENSORLET_DOCS=on")
    html = Path(__file__).with_name("docs.html").read_bytes()
    return Response(200, {"content-type": HTML, "content-security-policy": PAGE_POLICY}, html)


def document(title: str, description: str, paths: dict[str, Any], components: dict[str, Any]) -> Any:
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": __version__, "description": description},
        "paths": paths,
        "components": {"schemas": components},
    }


def describe(
    operation: Operation, path: str, parameters: list[Any], example: dict[str, Any] | None = None
) -> dict[str, Any]:
    """An Operation Object."""
    suffix = "".join(f"_{part}" for part in ("version", "label") if f"{{{part}}}" in path)
    suffix += "_slash" if path.endswith("/") else ""
    suffix += "_model" if path == "/invocations/{model}" else ""
    described: dict[str, Any] = {
        "operationId": operation.id + suffix,
        "tags": [operation.tag],
        "summary": operation.summary,
        "responses": {
            str(operation.status): _reply(operation),
            **{str(status): _error(status) for status in operation.errors},
        },
    }
    if parameters:
        described["parameters"] = parameters
    if operation.request:
        media: dict[str, Any] = {"schema": _reference(operation.request)}
        if example:
            media["examples"] = {
                "golden": {"summary": "Inputs this version was checked with", "value": example}
            }
        required = operation.request not in ("IndexRequest", "LoadRequest", "JobRequest")
        described["requestBody"] = {"required": required, "content": {JSON: media}}
    return described


def parameters(path: str) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": description,
            "schema": schemas.VERSION if name == "version" and path.startswith("/v1") else schema,
        }
        for name, (description, schema) in PARAMETERS.items()
        if f"{{{name}}}" in path
    ]


def expand(path: str) -> list[str]:
    """The plain paths of a route's path: each `[a|b]` gives one without, one with a, and one with b."""
    if "[" not in path:
        return [path]
    before, _, rest = path.partition("[")
    optional, _, after = rest.partition("]")
    return [before + part + after for part in ("", *optional.split("|"))]


def _reply(operation: Operation) -> dict[str, Any]:
    if not operation.reply:
        return {"description": "Done"}
    content: dict[str, Any] = {MEDIA.get(operation.reply, JSON): {"schema": _reference(operation.reply)}}
    if operation.binary:
        content[OCTETS] = {}
    return {"description": "The answer", "content": content}


def _error(status: int) -> dict[str, Any]:
    return {"description": ERRORS[status], "content": {JSON: {"schema": _reference("Error")}}}


def _reference(schema: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{schema}"}


def _summary(manifest: Manifest) -> str:
    inputs = ", ".join(f"{s.name} {s.datatype} {list(s.shape)}" for s in manifest.signature.inputs)
    outputs = ", ".join(f"{s.name} {s.datatype} {list(s.shape)}" for s in manifest.signature.outputs)
    return f"Inputs: {inputs}. Outputs: {outputs}. -1 stands for any length."
