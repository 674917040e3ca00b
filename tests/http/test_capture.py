"""What a server records of its requests, and what it says about their time."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from tensorlet.monitoring.observations import read, tensors, total
from tensorlet.registry.store import open_store
from tensorlet.registry.writer import set_alias

from tests.http.conftest import ask, make_app
from tests.models import half_plus, publish_onnx

V2 = "POST /v2/models/half/infer"
V2_BODY = {"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [2.0]}]}
TFS = "POST /v1/models/half:predict"
TFS_BODY = {"instances": [2.0, 4.0]}


@pytest.fixture
def uri(tmp_path):
    return f"file://{tmp_path}/captures"


@pytest.fixture
def half(store, uri):
    publish_onnx(store, "half", half_plus(2.0))
    return make_app(
        store, TENSORLET_CAPTURE=uri, TENSORLET_CAPTURE_RATE="1", TENSORLET_CAPTURE_INTERVAL_S="0"
    )


def seen(uri, version=1):
    now = datetime.now(UTC)
    return total(
        list(read(open_store(uri), "half", version, now - timedelta(minutes=1), now + timedelta(minutes=1)))
    )


def test_both_protocols_are_captured_in_one_form(half, uri):
    ask(half, V2, V2_BODY)
    ask(half, TFS, TFS_BODY)

    found = seen(uri)
    assert found.tally.requests == 2 and found.tally.rows == 3
    assert [observation.request for observation in found.sample] == ["r1", "r1"]
    assert tensors(found.sample, "inputs")["x"].tolist() == [2.0, 2.0, 4.0]
    assert tensors(found.sample, "outputs")["y"].tolist() == [3.0, 3.0, 4.0]


def test_what_was_captured_can_be_posted_as_it_is(half, uri):
    first = ask(half, V2, V2_BODY)
    [observation] = seen(uri).sample

    again = ask(half, V2, {"inputs": observation.inputs})

    assert again.body == first.body


def test_a_request_that_fails_counts_by_its_error(half, uri):
    ask(half, V2, {"inputs": []})

    assert seen(uri).tally.errors == {"SignatureMismatch": 1}


def test_a_version_that_cannot_be_loaded_counts_as_failing(half, uri, store):
    publish_onnx(store, "half", half_plus(3.0))
    store.put("half/2/model.onnx", b"not what was published")
    set_alias(store, "half", "bad", 2)

    assert ask(half, "POST /v2/models/half/versions/bad/infer", V2_BODY).status == 503

    assert seen(uri, 2).tally.errors == {"DigestMismatch": 1}


def test_nothing_is_kept_where_nobody_asks_for_it(store, tmp_path):
    publish_onnx(store, "half", half_plus(2.0))

    assert ask(make_app(store), V2, V2_BODY).status == 200

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "body"), [(V2, V2_BODY), (TFS, TFS_BODY), ("POST /invocations/half", TFS_BODY)]
)
def test_replies_say_how_long_each_part_took(half, line, body):
    first, second = (ask(half, line, body).headers["server-timing"] for _ in range(2))

    parts = r"decode;dur=\d+\.\d{3}, infer;dur=\d+\.\d{3}, encode;dur=\d+\.\d{3}"
    assert re.fullmatch(rf"load;dur=\d+\.\d, {parts}", first)
    assert re.fullmatch(parts, second)


def test_the_form_a_call_asks_for_is_the_one_that_is_counted(half):
    ask(half, V2, {**V2_BODY, "parameters": {"precision": "fp32"}})

    [stats] = json.loads(ask(half, "GET /v2/models/half/stats").body)["model_stats"]
    assert stats["execution_count"] == 1
