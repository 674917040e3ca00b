"""One inference, whatever the protocol: decode, run, encode, and count it in the model's statistics."""

from collections.abc import Callable
from time import perf_counter_ns
from typing import Any

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
    request: Request,
    decode: Callable[[], Any],
    encode: Callable[[Any, dict[str, Tensor]], Any],
    choose: Callable[[Any], LoadedModel] | None = None,
) -> tuple[Any, dict[str, str]]:
    """What `encode(call, outputs)` gives for `call = decode()`, which has `inputs`; and the headers to go with it.

    `choose(call)` is the form of the version that answers, where the call itself can ask for one.

    Raises:
        TensorletError: whatever the three parts raise.
    """
    start = perf_counter_ns()
    try:
        call = decode()
        decoded = perf_counter_ns()
        if choose:
            loaded = choose(call)
        outputs = loaded.infer(call.inputs)
        inferred = perf_counter_ns()
        reply = encode(call, outputs)
    except Exception as error:
        loaded.statistics.failed(perf_counter_ns() - start, type(error).__name__)
        if loaded.recorder:
            loaded.recorder.failed(loaded.version, request.id, error)
        raise
    encoded = perf_counter_ns()
    decode_ns, infer_ns, encode_ns = decoded - start, inferred - decoded, encoded - inferred
    rows = next(iter(call.inputs.values())).shape[0] if loaded.batched else 1
    loaded.statistics.succeeded(rows, decode_ns, infer_ns, encode_ns)
    if loaded.recorder:
        file = loaded.artifact.files[0].path
        loaded.recorder.answered(loaded.version, request.id, file, rows, infer_ns / 1e6, call.inputs, outputs)
    timing = server_timing(decode_ns, infer_ns, encode_ns)
    if loaded.load_ns:  # this request waited for it
        timing, loaded.load_ns = f"load;dur={loaded.load_ns / 1e6:.1f}, {timing}", 0
    return reply, {**loaded.headers, "server-timing": timing}


def server_timing(decode_ns: int, infer_ns: int, encode_ns: int) -> str:
    """Milliseconds of each part. Source: W3C Server Timing."""
    return (
        f"decode;dur={decode_ns / 1e6:.3f}, infer;dur={infer_ns / 1e6:.3f}, encode;dur={encode_ns / 1e6:.3f}"
    )
