"""One inference, whatever the protocol: decode, run, encode, and count it in the model's statistics."""

from collections.abc import Callable
from time import perf_counter_ns
from typing import Any

from tensorlet.errors import TensorletError
from tensorlet.serving.service import LoadedModel
from tensorlet.tensors import Tensor


def infer(
    loaded: LoadedModel, decode: Callable[[], Any], encode: Callable[[Any, dict[str, Tensor]], Any]
) -> Any:
    """What `encode(call, outputs)` gives for `call = decode()`, which has `inputs`.

    Raises:
        TensorletError: whatever the three parts raise.
    """
    start = perf_counter_ns()
    try:
        call = decode()
        decoded = perf_counter_ns()
        outputs = loaded.infer(call.inputs)
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
