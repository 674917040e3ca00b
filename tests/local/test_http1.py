"""The local HTTP edge, on a socket of its own: what a client sends, and what it gets.

Source: RFC 9112 and RFC 9110.
"""

import asyncio
import json
import socket
import threading
import time
from contextlib import contextmanager

import pytest
from tensorlet.http.app import App
from tensorlet.local import http1
from tensorlet.local.answers import Answers
from tensorlet.local.http1 import HttpServer
from tensorlet.local.server import listen

from tests.models import half_plus_two, identity, publish_onnx

LIMIT = 100
POST = b"POST /v1/models/half:predict HTTP/1.1\r\nhost: x\r\n"
BODY = b'{"instances": [1.0, 2.0]}'
CLOSE = b"connection: close\r\n"


@contextmanager
def running(service, limit=LIMIT):
    server, ready = HttpServer(Answers(App(service)), limit), threading.Event()
    with listen("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=lambda: asyncio.run(server.run(listener, ready.set)))
        thread.start()
        try:
            assert ready.wait(10)
            yield listener.getsockname()
        finally:
            server.stop()
            thread.join()


@pytest.fixture
def address(store, service):
    publish_onnx(store, "half", half_plus_two())
    with running(service) as address:
        yield address


def post(body, head=b""):
    return POST + b"content-length: %d\r\n" % len(body) + head + b"\r\n" + body


def everything(address, *pieces):
    """All that the server says to these pieces until it closes."""
    with socket.create_connection(address, timeout=10) as connection:
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(0.02 if len(pieces) > 1 else 0)
        said = b""
        while piece := connection.recv(1 << 16):
            said += piece
    return said


def reply(said):
    """Status, headers and body of one reply."""
    head, _, body = said.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return int(first.split()[1]), dict(line.split(": ", 1) for line in lines), body


def test_a_request_is_answered_by_the_application(address):
    status, headers, body = reply(everything(address, post(BODY, CLOSE)))

    assert (status, json.loads(body)) == (200, {"predictions": [2.5, 3.0]})
    assert headers["tensorlet-model"] == "half/1"
    assert headers["content-length"] == str(len(body))
    assert headers["connection"] == "close"
    assert headers["date"].endswith(" GMT")


@pytest.mark.parametrize("cut", [1, 20, len(POST) + 3, -len(BODY), -10])
def test_a_request_may_come_in_pieces(address, cut):
    request = post(BODY, CLOSE)

    assert reply(everything(address, request[:cut], request[cut:]))[0] == 200


def test_a_body_may_come_in_chunks(address):
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (BODY[:7], BODY[7:8], BODY[8:], b""))
    request = POST + CLOSE + b"transfer-encoding: chunked\r\n\r\n" + chunks

    assert json.loads(reply(everything(address, request))[2]) == {"predictions": [2.5, 3.0]}


def test_requests_sent_together_are_answered_in_their_order(address):
    bodies = [b'{"instances": [%d.0]}' % number for number in range(0, 40, 2)]
    requests = [post(body) for body in bodies[:-1]] + [post(bodies[-1], CLOSE)]

    said = everything(address, b"".join(requests))

    found = [json.loads(part.partition(b"\r\n\r\n")[2]) for part in said.split(b"HTTP/1.1 200 OK\r\n")[1:]]
    assert found == [{"predictions": [number / 2 + 2.0]} for number in range(0, 40, 2)]


@pytest.mark.parametrize("size", [1, 1 << 16, 3 << 20])
@pytest.mark.parametrize("then", [b"", b"GET /v2/health/live HTTP/1.1\r\nconnection: close\r\n\r\n"])
def test_a_body_of_any_size_arrives_whole(store, service, size, then):
    publish_onnx(store, "same", identity({"x": ("UINT8", ["n"])}))
    data = bytes(range(251)) * (size // 251 + 1)
    head = json.dumps(
        {
            "inputs": [
                {"name": "x", "datatype": "UINT8", "shape": [size], "parameters": {"binary_data_size": size}}
            ],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    request = (
        b"POST /v2/models/same/infer HTTP/1.1\r\ninference-header-content-length: %d\r\n" % len(head)
        + b"content-length: %d\r\n" % (len(head) + size)
        + (b"" if then else CLOSE)
        + b"\r\n"
    )

    with running(service, limit=4 << 20) as address:
        said = everything(address, request + head + data[:size] + then)

    status, headers, body = reply(said)
    start = int(headers["inference-header-content-length"])
    assert status == 200
    assert body[start : int(headers["content-length"])] == data[:size]
    assert body.endswith(b'{"live":true}') == bool(then)


def test_the_request_id_of_a_proxy_is_kept(address):
    request = b"GET /v2 HTTP/1.1\r\nconnection: close\r\n"

    kept = reply(everything(address, request + b"X-Request-Id: from-the-proxy\r\n\r\n"))[1]
    made = reply(everything(address, request + b"\r\n"))[1]

    assert kept["x-request-id"] == "from-the-proxy"
    assert len(made["x-request-id"]) == 16


@pytest.mark.parametrize(
    "target", [b"/v2/models/a%2Fb", b"/v2/models/a%2Fb?x=1", b"http://x/v2/models/a%2Fb"]
)
def test_a_path_is_decoded_once_and_by_the_application(address, target):
    status, _, body = reply(everything(address, b"GET " + target + b" HTTP/1.1\r\nconnection: close\r\n\r\n"))

    assert status == 404
    assert "a/b" in json.loads(body)["error"]


@pytest.mark.parametrize("size", [LIMIT + 1, 2 * LIMIT])
def test_a_body_over_the_limit_is_read_to_its_end_and_refused(address, size):
    status, headers, body = reply(everything(address, post(b" " * LIMIT + b" " * (size - LIMIT))))

    assert status == 413
    assert json.loads(body)["error"] == "body: expected at most 100 bytes, got more"
    assert headers["connection"] == "close"


def test_a_body_without_end_is_not_read_to_its_end(address):
    chunk = b"64\r\n" + b" " * LIMIT + b"\r\n"

    said = everything(address, POST + b"transfer-encoding: chunked\r\n\r\n" + 3 * chunk)

    assert reply(said)[0] == 413


def test_a_client_that_asks_before_it_sends_is_told(address):
    head = POST + CLOSE + b"expect: 100-continue\r\ncontent-length: %d\r\n\r\n"

    refused = everything(address, head % (LIMIT + 1))
    welcome = everything(address, head % len(BODY), BODY)

    assert reply(refused)[0] == 413
    assert welcome.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")


def test_a_client_that_goes_away_gets_no_answer_and_takes_nobody_with_it(address):
    with socket.create_connection(address) as connection:
        connection.sendall(POST + b"content-length: 50\r\n\r\n{")

    assert reply(everything(address, post(BODY, CLOSE)))[0] == 200


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"not HTTP\r\n\r\n",
        POST + b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"content-length: -1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /v2 HTTP/1.1\r\na: b\n folded\r\n\r\n",
    ],
    ids=["not HTTP", "two lengths", "negative length", "HTTP/2", "bare line feed"],
)
def test_what_is_not_http_is_refused(address, request_bytes):
    status, headers, body = reply(everything(address, request_bytes))

    assert (status, headers["connection"]) == (400, "close")
    assert json.loads(body)["error"].startswith("HTTP request: ")


def test_headers_without_end_are_refused(address):
    assert (
        reply(everything(address, b"GET /v2 HTTP/1.1\r\na: " + b"b" * (http1.MAX_HEAD_BYTES + 1)))[0] == 431
    )


@pytest.mark.parametrize("body", [b"", BODY])
def test_an_upgrade_is_ignored(address, body):
    """curl --http2 offers h2c, a browser a websocket; RFC 9110: a server may ignore it."""
    head = b"connection: upgrade\r\nupgrade: h2c\r\n"
    request = post(body, head) if body else b"GET /v2 HTTP/1.1\r\n" + head + b"\r\n"

    assert reply(everything(address, request))[0] == 200


@pytest.mark.parametrize("head", [b"", b"connection: keep-alive\r\n"])
def test_http_1_0_closes_after_the_answer(address, head):
    assert reply(everything(address, b"GET /v2 HTTP/1.0\r\n" + head + b"\r\n"))[1]["connection"] == "close"


def test_a_client_that_stops_sending_is_let_go(store, service, monkeypatch):
    monkeypatch.setattr(http1, "HEAD_S", 0.2)
    monkeypatch.setattr(http1, "KEEP_ALIVE_S", 0.2)
    monkeypatch.setattr(http1, "TICK_S", 0.05)
    with running(service) as address:
        assert reply(everything(address, b"GET /v2 HTTP/1.1\r\n"))[0] == 408
        assert everything(address, b"") == b""


def test_a_server_told_to_stop_before_it_runs_does_not(service):
    server = HttpServer(Answers(App(service)), LIMIT)
    server.stop()

    with listen("127.0.0.1", 0) as listener:
        asyncio.run(asyncio.wait_for(server.run(listener, lambda: None), 5))
