"""The local HTTP edge, called as an ASGI server calls it.

Source: ASGI specification, "HTTP Connection Scope".
"""

import asyncio
import json
from threading import current_thread, main_thread

import pytest
from tensorlet.http.app import App
from tensorlet.http.message import Response
from tensorlet.local import asgi
from tensorlet.local.asgi import AsgiApp

from tests.models import half_plus_two, publish_onnx

LIMIT = 100


def call(app, method="GET", path="/v2", *, headers=(), pieces=(b"",), then=None):
    """One request whose body comes in `pieces`; gives the status, the headers, the body, and how much was read.

    `then` is what the server says after the pieces, which by default end the body.
    """
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    messages.append(then or {"type": "http.request", "body": b"", "more_body": False})
    sent, unread = [], list(messages)

    async def receive():
        return unread.pop(0)

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "raw_path": path.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in headers],
    }
    asyncio.run(app(scope, receive, send))
    if not sent:
        return None
    start, body = sent
    return start["status"], dict(start["headers"]), body["body"], len(messages) - len(unread)


@pytest.fixture
def app(store, service):
    publish_onnx(store, "half", half_plus_two())
    return AsgiApp(App(service), LIMIT)


def test_a_request_is_answered_by_the_application(app):
    body = json.dumps({"instances": [1.0, 2.0]}).encode()

    status, headers, reply, _ = call(app, "POST", "/v1/models/half:predict", pieces=[body[:10], body[10:]])

    assert status == 200
    assert json.loads(reply) == {"predictions": [2.5, 3.0]}
    assert headers[b"tensorlet-model"] == b"half/1"
    assert headers[b"content-length"] == str(len(reply)).encode()


def test_the_request_id_of_a_proxy_is_kept(app):
    _, kept, _, _ = call(app, headers=[("x-request-id", "from-the-proxy")])
    _, made, _, _ = call(app)

    assert kept[b"x-request-id"] == b"from-the-proxy"
    assert len(made[b"x-request-id"]) == 16


def test_a_path_is_decoded_once_and_by_the_application(app):
    status, _, reply, _ = call(app, path="/v2/models/a%2Fb")

    assert status == 404
    assert "a/b" in json.loads(reply)["error"]


@pytest.mark.parametrize("size", [LIMIT + 1, 2 * LIMIT])
def test_a_body_over_the_limit_is_read_to_its_end_and_refused(app, size):
    status, headers, reply, read = call(app, "POST", pieces=[b"x" * LIMIT, b"x" * (size - LIMIT)])

    assert status == 413
    assert json.loads(reply)["error"] == "body: expected at most 100 bytes, got more"
    assert headers[b"connection"] == b"close"
    assert read == 3


def test_a_body_without_end_is_not_read_to_its_end(app):
    status, _, _, read = call(app, "POST", pieces=[b"x" * LIMIT] * 50)

    assert (status, read) == (413, 3)


def test_a_client_that_asks_before_it_sends_is_refused_unread(app):
    headers = [("expect", "100-continue"), ("content-length", str(LIMIT + 1))]

    status, _, _, read = call(app, "POST", headers=headers)

    assert (status, read) == (413, 0)


def test_a_client_that_goes_away_gets_no_answer(app):
    assert call(app, "POST", pieces=[b"{"], then={"type": "http.disconnect"}) is None


def test_a_websocket_is_not_for_us(app):
    async def never(*_):
        pytest.fail("nothing is read or sent")

    asyncio.run(app({"type": "websocket"}, never, never))


def test_slow_requests_leave_the_event_loop_and_quick_ones_stay(service, monkeypatch):
    """The first request of a kind may load a model; what the last two took decides about the next."""
    on_loop, clock, seconds = [], [0.0], iter([1.0, 0.001, 1.0, 1.0, 0.001, 0.001, 0.001])
    app = AsgiApp(App(service), LIMIT)
    monkeypatch.setattr(asgi, "perf_counter", lambda: clock[0])

    def handle(request):
        on_loop.append(current_thread() is main_thread())
        clock[0] += next(seconds)
        return Response(200, {}, b"")

    app._handle = handle
    for _ in range(6):
        call(app)
    call(app, pieces=[b"another kind"])

    assert on_loop == [False, False, True, True, False, True, False]


def test_refused_requests_are_not_remembered(app):
    for number in range(10):
        call(app, path=f"/v2/models/absent-{number}")

    assert app._seconds == {}
