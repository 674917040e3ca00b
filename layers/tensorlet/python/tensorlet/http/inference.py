"""One inference, whatever the protocol: decode, run, encode, and count it in the model's statistics."""

from collections.abc import Callable
from time import perf_counter_ns
from typing import Any

from tensorlet.errors import TensorletError
from tensorlet.http.message import Request
from tensorlet.serving.service import LoadedModel, ModelService
from tensorlet.tensors import Tensor

# Headers for every protocol: the precision wanted, and whatever shall get the same version again in a canary release.
PRECISION, KEY = "tensorlet-precision", "tensorlet-key"


def requested(service: ModelService, request: Request, model: str, selector: str | None) -> LoadedModel:
    """The model that the path and these headers mean. Raises as `ModelService.model`."""
    headers = request.headers
    return service.model(model, selector, headers.get(PRECISION, ""), headers.get(KEY, ""))


def infer(
    loaded: LoadedModel,
    decode: Callable[[], Any],
    encode: Callable[[Any, dict[str, Tensor]], Any],
    choose: Callable[[Any], LoadedModel] | None = None,
) -> Any:
    """What `encode(call, outputs)` gives for `call = decode()`, which has `inputs`.

    `choose(call)` is the form of the version that answers, where the call itself can ask for one.

    Raises:
        TensorletError: whatever the three parts raise.
    """
    start = perf_counter_ns()
    try:
        call = decode()
        decoded = perf_counter_ns()
        outputs = (choose(call) if choose else loaded).infer(call.inputs)
        inferred = perf_counter_ns()
        reply = encode(call, outputs)
    except TensorletError:
        loaded.statistics.failed(perf_counter_ns() - start)
        raise
    encoded = perf_counter_ns()
    rows = next(iter(call.inputs.values())).shape[0] if loaded.batched else 1
    loaded.statistics.succeeded(rows, decoded - start, inferred - decoded, encoded - inferred)
    return reply


def model_headers(loaded: LoadedModel) -> dict[str, str]:
    """Every reply says which version and which file of it answered."""
    return {"tensorlet-model": loaded.name, "tensorlet-artifact": loaded.artifact.files[0].path}
