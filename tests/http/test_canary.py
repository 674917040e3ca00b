"""An alias that two versions share: who is answered by which."""

import json

import pytest
from tensorlet.registry.writer import set_alias

from tests.http.conftest import ask, make_app
from tests.models import half_plus, publish_onnx

V2 = "POST /v2/models/half/infer"
V2_BODY = {"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [2.0]}]}
TFS = "POST /v1/models/half:predict"
TFS_BODY = {"instances": [2.0]}
CALLERS = [f"customer-{number}" for number in range(64)]


@pytest.fixture
def half(store):
    """`half` answers 3 in version 1 and 4 in version 2, which share `live` equally."""
    for added in (2.0, 3.0):
        publish_onnx(store, "half", half_plus(added))
    set_alias(store, "half", "live", 1)
    set_alias(store, "half", "live", 2, weight=0.5)
    return make_app(store, TENSORLET_ALIAS_TTL_S="0")


def test_a_caller_with_a_key_always_gets_the_same_version(half):
    for caller in CALLERS:
        replies = [
            ask(half, V2, V2_BODY, tensorlet_key=caller),
            ask(half, V2, V2_BODY, tensorlet_key=caller),
            ask(half, TFS, TFS_BODY, tensorlet_key=caller),
        ]
        assert len({reply.headers["tensorlet-model"] for reply in replies}) == 1


def test_every_reply_says_which_version_gave_it(half):
    answers = set()
    for caller in CALLERS:
        reply = ask(half, TFS, TFS_BODY, tensorlet_key=caller)
        answers.add((reply.headers["tensorlet-model"], *json.loads(reply.body)["predictions"]))

    assert answers == {("half/1", 3.0), ("half/2", 4.0)}


def test_without_a_key_both_versions_answer(half):
    versions = {ask(half, V2, V2_BODY).headers["tensorlet-model"] for _ in range(64)}

    assert versions == {"half/1", "half/2"}


def test_who_asks_for_a_version_gets_it_whatever_its_share(half):
    reply = ask(half, "POST /v2/models/half/versions/2/infer", V2_BODY, tensorlet_key=CALLERS[0])

    assert reply.headers["tensorlet-model"] == "half/2"


def test_a_release_reaches_callers_with_the_next_request(half, store):
    set_alias(store, "half", "live", 2)

    assert {ask(half, V2, V2_BODY).headers["tensorlet-model"] for _ in range(16)} == {"half/2"}
