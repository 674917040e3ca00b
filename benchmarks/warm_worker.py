"""In the function's own environment: `python warm_worker.py EVENTS.json ROUNDS` prints microseconds per call as JSON.

{request: {"handlers": {name: [{"us", "over_us"} of each round]}, "stages": {stage: share of the time}}}; `us` is CPU
time of the thread that answers, so that whatever else the machine does is not counted, and `over_us` what of it goes
beyond the bare model run of the same round.
"""

import json
import os
import random
import sys
from collections.abc import Callable
from contextlib import contextmanager
from importlib import import_module
from time import perf_counter, sleep, thread_time
from typing import Any, NamedTuple

import numpy as np

SLICE_S = 0.02
SETTLE_S = 0.005  # a runtime's threads that still spin belong to the variant before
OURS = "Tensorlet"
STAGES = {"input_ns": "decode", "infer_ns": "infer", "output_ns": "encode"}  # as our statistics count them
HANDLERS = {
    OURS: "app",
    "bare handler": "bare",
    "tutorial": "tutorial",
    "FastAPI + Mangum": "mangum_app",
}
JSON_ONLY = {"tutorial", "FastAPI + Mangum"}
MODEL = "model alone"


class Context:
    function_name = "benchmark"
    memory_limit_in_mb = 1769
    invoked_function_arn = "arn:aws:lambda:eu-central-1:123456789012:function:benchmark"
    aws_request_id = "request"


def main(events: dict[str, Any], rounds: int) -> dict[str, Any]:
    handlers = {name: import_module(module).handler for name, module in HANDLERS.items()}
    return {name: measure(handlers, event, rounds) for name, event in events.items()}


def measure(handlers: dict[str, Any], event: dict[str, Any], rounds: int) -> dict[str, Any]:
    binary = event["isBase64Encoded"]
    calls: dict[str, Callable[[], Any]] = {
        name: lambda handler=handler: handler(event, Context)
        for name, handler in handlers.items()
        if not (binary and name in JSON_ONLY)
    }
    for name, call in calls.items():
        with quiet():
            reply = call()
        if reply["statusCode"] != 200:
            sys.exit(f"{name}: {json.dumps(reply)[:1000]}")
    calls[MODEL] = model_run(event)
    loops = {name: max(1, int(SLICE_S / seconds(call, 5).cpu)) for name, call in calls.items()}
    before, taken = statistics(), {name: [] for name in calls}
    ours_ns = 0.0
    order = list(calls)
    for _ in range(rounds):
        random.shuffle(order)
        for name in order:
            sleep(SETTLE_S)
            each = seconds(calls[name], loops[name])
            taken[name].append(each.cpu * 1e6)
            ours_ns += each.wall * loops[name] * 1e9 if name == OURS else 0
    return {
        "handlers": {
            name: [
                {"us": us, **({"over_us": us - model} if name != MODEL else {})}
                for us, model in zip(own, taken[MODEL], strict=True)
            ]
            for name, own in taken.items()
        },
        "stages": stages(before, statistics(), ours_ns),
    }


def model_run(event: dict[str, Any]) -> Callable[[], Any]:
    """The bare session run on a ready array of the same rows."""
    from bare import binary, handler, run  # noqa: F401  # its session has one thread, as ours

    rows = rows_of(event)
    x = np.random.default_rng(7).random((rows, 784), dtype=np.float32)
    return lambda: run(["output"], {"input": x}, None)


def rows_of(event: dict[str, Any]) -> int:
    from base64 import b64decode

    body = b64decode(event["body"]) if event["isBase64Encoded"] else event["body"].encode()
    size = event["headers"].get("inference-header-content-length")
    return int(json.loads(body[: int(size) if size else None])["inputs"][0]["shape"][0])


def statistics() -> dict[str, int]:
    """Our own counters: what each stage of all requests so far has taken."""
    found = import_module("app").service.statistics("mlp", 1)
    return {name: getattr(found, name) for name in STAGES}


def stages(before: dict[str, int], after: dict[str, int], whole_ns: float) -> dict[str, float]:
    """Shares of `whole_ns`, which all calls between the two took."""
    shares = {stage: (after[name] - before[name]) / whole_ns for name, stage in STAGES.items()}
    return {name: round(share, 3) for name, share in (shares | {"around": 1 - sum(shares.values())}).items()}


class Each(NamedTuple):
    """Seconds of one call: on the clock, and of CPU in this thread."""

    wall: float
    cpu: float


def seconds(call: Callable[[], Any], loops: int) -> Each:
    with quiet():
        start, cpu = perf_counter(), thread_time()
        for _ in range(loops):
            call()
        return Each((perf_counter() - start) / loops, (thread_time() - cpu) / loops)


@contextmanager
def quiet() -> Any:
    """Log lines are a part of what a handler costs; they go nowhere."""
    kept = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


if __name__ == "__main__":
    with open(sys.argv[1]) as file:  # noqa: PTH123
        print(json.dumps(main(json.load(file), int(sys.argv[2]))))
