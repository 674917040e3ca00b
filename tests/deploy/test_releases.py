"""A release on AWS as docs/operations.md has it: a worse model behind a canary, which the deployed guard takes back."""

import json
import re
from datetime import UTC, datetime
from itertools import count

import numpy as np
from tensorlet.monitoring.observations import read, total
from tensorlet.registry.store import open_store

from tests.deploy.cloud import Stack
from tests.deploy.conftest import shell_of
from tests.deploy.page import RELEASE, blocks
from tests.models import times

PREDICT = "/v1/models/price:predict"
MOST = 5_000  # requests; 10 % of some hundreds are enough


def ask(stack: Stack, number: int) -> str:
    """Which version answered a caller who sends 32 rows."""
    rows = 1 + np.random.default_rng(number).random((32, 4)).round(4)
    answer = stack.ask(
        PREDICT, json.dumps({"instances": rows.tolist()}).encode(), tensorlet_key=f"caller {number}"
    )
    assert answer.status == 200, answer.body
    return answer.headers["tensorlet-model"]


def test_a_worse_model_behind_a_canary_is_taken_back_and_the_history_says_why(stack, tmp_path):
    """GIVEN a stack that captures, WHEN 10 % of the callers get a worse version, THEN the guard ends that."""
    began = datetime.now(UTC)
    capturing = stack.configure(ApiAuth="NONE", CaptureRate="1")
    captures = open_store(f"s3://{capturing.outputs['CaptureBucketName']}", capturing.cloud.environ())
    shell = shell_of(capturing, tmp_path)
    (tmp_path / "better.onnx").write_bytes(times(2))
    (tmp_path / "worse.onnx").write_bytes(times(3))
    release, watch = blocks(RELEASE)

    shell.run(release)
    asked = []
    for number in count():
        asked.append(ask(capturing, number))
        seen = number % 20 == 0 and total(read(captures, "price", 2, began, datetime.now(UTC)))
        if seen and seen.tally.requests >= 20:
            break
        assert number < MOST
    told = shell.run(watch)

    assert 0.02 < asked.count("price/2") / len(asked) < 0.2
    assert re.search(r"1 90% \+ 2 10% +1 +guard: version 2: predictions moved: PSI of y", told)
    assert re.search(r"price/2 was asked \d+ requests of price/1: .* 0 failed, greatest difference", told)
    assert {ask(capturing, number) for number in range(len(asked), len(asked) + 20)} == {"price/1"}
