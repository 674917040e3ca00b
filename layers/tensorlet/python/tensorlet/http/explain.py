"""The routes that explain an answer: `:explain` of KServe V1, and its likeness under V2, which has none of its own.

`parameters` of the request choose how, see `OPTIONS`. Source: KServe, Data Plane, "V1 Protocol".
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tensorlet.errors import InvalidRequest
from tensorlet.http.inference import requested
from tensorlet.http.message import JSON, OCTETS, Request, Response
from tensorlet.http.tfs import servable
from tensorlet.http.v2 import JSON_SIZE_HEADER, json_size
from tensorlet.protocols import tfs, tfs_reply, v2, v2_reply
from tensorlet.protocols.json_body import dump_json, parse_json
from tensorlet.protocols.json_tensor import shorten
from tensorlet.serving.explain import (
    MAX_SAMPLES,
    MAX_STEPS,
    MAX_WINDOW,
    METHODS,
    Explanation,
    Options,
    explain,
)
from tensorlet.serving.service import LoadedModel, ModelService
from tensorlet.signature import quote
from tensorlet.tensors import Tensor


class Choice(NamedTuple):
    """What an option may be, in words for the message and as a check."""

    words: str
    fits: Callable[[Any], bool]


def _whole(least: int, most: int) -> Choice:
    return Choice(
        f"a whole number from {least} to {most}", lambda value: type(value) is int and least <= value <= most
    )


OPTIONS: dict[str, Choice] = {
    "method": Choice(f"one of {', '.join(METHODS)}", lambda value: value in METHODS),
    "output": Choice("the name of an output", lambda value: isinstance(value, str)),
    "target": Choice("a class number or a label", lambda value: type(value) in (int, str)),
    "baseline": Choice("a number", lambda value: type(value) in (int, float) and abs(value) < 1e38),
    "window": _whole(1, MAX_WINDOW),
    "samples": _whole(1, MAX_SAMPLES),
    "steps": _whole(1, MAX_STEPS),
    "seed": _whole(0, 2**53),
}
V2_OWN = ("binary_data_output", "precision")  # parameters that every V2 request may have


def explain_v2(service: ModelService, request: Request, model: str, version: str | None) -> Response:
    """Attributions as tensors with the names and shapes of the inputs, and `target`, `value` and `base_value`."""
    loaded = requested(service, request, model, version)
    size = json_size(request.headers)
    call = v2.decode_infer(request.body, size, loaded.signature, service.settings)
    if call.precision:
        loaded = service.model(model, str(loaded.manifest.version), call.precision)
    text = bytes(request.body if size is None else memoryview(request.body)[:size])
    document = parse_json(text, service.settings) if size != 0 else {}
    parameters = document.get("parameters", {})
    options = read_options({name: value for name, value in parameters.items() if name not in V2_OWN})
    found = _explained(service, loaded, call.inputs, options)
    tensors = _tensors(found)
    binary = bool(parameters.get("binary_data_output", size == 0))
    reply = v2_reply.encode_infer(
        loaded.manifest.model,
        loaded.manifest.version,
        call._replace(outputs=tuple(v2.RequestedOutput(name, binary, 0) for name in tensors)),
        tensors,
    )
    headers = _headers(loaded, found)
    headers["content-type"] = JSON if reply.json_size is None else OCTETS
    if reply.json_size is not None:
        headers[JSON_SIZE_HEADER] = str(reply.json_size)
    return Response(200, headers, reply.body)


def explain_v1(
    service: ModelService, request: Request, model: str, version: str | None, label: str | None
) -> Response:
    """`explanations`, one object for each row, beside the answers to it in `predictions`."""
    loaded = servable(service, request, model, version, label)
    body = bytes(request.body)
    call = tfs.decode_predict(body, loaded.signature, service.settings)
    parameters = tfs.parse_object(body, service.settings).get("parameters", {})
    if not isinstance(parameters, dict):
        raise InvalidRequest(f"parameters: expected an object, got {shorten(parameters)}")
    found = _explained(service, loaded, call.inputs, read_options(parameters))
    labels = loaded.manifest.document.get("labels") or []
    nested = {name: tfs_reply.json_value(_float32(array), name) for name, array in found.attributions.items()}
    explanations = []
    for row, target in enumerate(found.target.tolist()):
        attributions = {name: rows[row] for name, rows in nested.items()}
        explanations.append(
            {
                "attributions": attributions if len(attributions) > 1 else next(iter(attributions.values())),
                "target": target,
                **({"label": labels[target]} if target < len(labels) else {}),
                "value": float(found.value[row]),
                "base_value": float(found.base_value[row]),
            }
        )
    reply = {
        "predictions": found.value.tolist(),
        "explanations": explanations,
        "method": found.method,
        "output": found.output,
    }
    return Response(200, {"content-type": JSON, **_headers(loaded, found)}, dump_json(reply))


def read_options(parameters: Mapping[str, Any]) -> Options:
    """The options that a request chose. Raises InvalidRequest naming the parameter, what was expected and what came."""
    for name, value in parameters.items():
        if name not in OPTIONS:
            raise InvalidRequest(f"parameter {quote(name)}: expected one of {', '.join(OPTIONS)}")
        if not OPTIONS[name].fits(value):
            raise InvalidRequest(f"parameter {name}: expected {OPTIONS[name].words}, got {shorten(value)}")
    return Options(**parameters)


def _explained(
    service: ModelService, loaded: LoadedModel, inputs: Mapping[str, Tensor], options: Options
) -> Explanation:
    limit = service.settings.max_explain_evaluations
    return explain(loaded, service.gradient, inputs, options, limit)


def _tensors(found: Explanation) -> dict[str, Tensor]:
    tensors = {name: _float32(array) for name, array in found.attributions.items()}
    return tensors | {
        "explain:target": Tensor.from_numpy(found.target.astype("int64")),
        "explain:value": _float32(found.value),
        "explain:base_value": _float32(found.base_value),
    }


def _float32(array: Any) -> Tensor:
    return Tensor.from_numpy(array.astype("float32"))


def _headers(loaded: LoadedModel, found: Explanation) -> dict[str, str]:
    return {**loaded.headers, "tensorlet-explain": f"{found.method}; evaluations={found.evaluations}"}
