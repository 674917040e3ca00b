"""`tensorlet serve` as a process: when it is ready, how it ends, and its workers.

A sibling of tests/e2e, which asks what it answers.
"""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from urllib.request import urlopen

import pytest
from tensorlet.errors import InvalidSetting
from tensorlet.local.processes import running_server
from tensorlet.local.server import listen, url
from tensorlet.registry.store import open_store

from tests.models import half_plus_two, publish_onnx

slow = pytest.mark.slow
POST = b"POST /v2/models/half/infer HTTP/1.1\r\nhost: x\r\n"


@pytest.fixture
def registry(tmp_path):
    store = open_store(f"file://{tmp_path}/registry")
    publish_onnx(store, "half", half_plus_two())
    return store.uri


def get(base, path):
    with urlopen(base + path, timeout=10) as reply:
        return json.load(reply)


def test_a_taken_port_is_refused_with_advice():
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(InvalidSetting, match=rf"127.0.0.1:{port}: Address already in use; .*--port 0"):
            listen("127.0.0.1", port)


def test_an_address_that_is_not_ours_is_refused_with_advice():
    with pytest.raises(InvalidSetting, match="choose another address with --host"):
        listen("192.0.2.1", 0)  # TEST-NET-1, RFC 5737


def test_the_url_names_the_port_that_0_became():
    with listen("127.0.0.1", 0) as listener:
        assert url(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_an_ipv6_address_is_bracketed():
    with listen("::1", 0) as listener:
        assert url(listener).startswith("http://[::1]:")


@slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_told_to_stop_it_ends_with_success_and_silence(registry, workers, number):
    command = [sys.executable, "-m", "tensorlet.cli", "serve", "--port", "0", "--registry", registry]
    with subprocess.Popen(
        [*command, "--workers", workers], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline().startswith("listening on http://127.0.0.1:")
        process.send_signal(number)
        out, err = process.communicate(timeout=15)

    assert (process.returncode, out, err) == (0, "", "")


@slow
def test_a_running_request_is_finished_before_it_stops(registry):
    with running_server("--registry", registry) as server:
        connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=10)
        body = b'{"instances": [1.0]}'
        connection.putrequest("POST", "/v1/models/half:predict")
        connection.putheader("content-length", str(len(body)))
        connection.endheaders(body[:5])
        time.sleep(0.3)
        server.process.terminate()
        time.sleep(0.3)
        connection.send(body[5:])

        reply = connection.getresponse()

        assert (reply.status, json.load(reply)) == (200, {"predictions": [2.5]})
        assert server.process.wait(10) == 0


@slow
def test_a_server_ends_with_the_block_that_started_it(registry):
    with pytest.raises(KeyboardInterrupt), running_server("--registry", registry, "--workers", "2") as server:
        workers = children(server.process.pid)
        raise KeyboardInterrupt

    assert server.process.returncode == 0
    assert not any(alive(pid) for pid in workers)


@slow
def test_a_worker_that_dies_is_replaced(registry, capfd):
    with running_server("--registry", registry, "--workers", "2") as server:
        workers = children(server.process.pid)
        os.kill(workers[0], signal.SIGKILL)
        wait_until(
            lambda: len(children(server.process.pid)) == 2 and workers[0] not in children(server.process.pid)
        )

        assert all(get(server.url, "/v2/health/ready")["ready"] for _ in range(20))

    assert f"worker {workers[0]} died; starting another" in capfd.readouterr().err


@slow
def test_workers_end_with_their_supervisor(registry):
    with running_server("--registry", registry, "--workers", "2") as server:
        workers = children(server.process.pid)
        server.process.kill()

        wait_until(lambda: not any(alive(pid) for pid in workers))


@slow
def test_a_setting_that_cannot_be_used_is_one_line(registry, monkeypatch):
    monkeypatch.setenv("TENSORLET_ALIAS_TTL_S", "soon")

    run = subprocess.run(
        [sys.executable, "-m", "tensorlet.cli", "serve", "--registry", registry],
        capture_output=True,
        text=True,
    )

    assert run.returncode == 1
    assert run.stderr == "tensorlet: TENSORLET_ALIAS_TTL_S: expected seconds, 0 or more, got 'soon'\n"


@slow
def test_the_limit_of_a_body_holds_while_it_is_read(registry, monkeypatch):
    monkeypatch.setenv("TENSORLET_MAX_BODY_BYTES", "1000")
    with running_server("--registry", registry) as server:
        replies = [
            raw(server.url, POST + b"content-length: 1500\r\n\r\n" + b" " * 1500),
            raw(server.url, POST + b"content-length: 1001\r\nexpect: 100-continue\r\n\r\n"),
            raw(server.url, POST + b"transfer-encoding: chunked\r\n\r\n" + chunked(b" " * 1000, b" ")),
        ]

        assert get(server.url, "/v2/health/live")["live"]

    for reply in replies:
        assert reply.startswith(b"HTTP/1.1 413 ")
        assert b'{"error":"body: expected at most 1000 bytes, got more"}' in reply


@slow
def test_head_is_get_without_the_body(registry):
    with running_server("--registry", registry) as server:
        head = raw(server.url, b"HEAD /v2 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        full = raw(server.url, b"GET /v2 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 200 ") and head.endswith(b"\r\n\r\n")
    _, _, body = full.partition(b"\r\n\r\n")
    assert b"content-length: %d\r\n" % len(body) in head


@slow
def test_many_clients_at_once_load_a_model_once_and_all_get_answers(registry):
    answers = []

    def ask():
        connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=20)
        connection.request("POST", "/v1/models/half:predict", b'{"instances": [4.0]}')
        answers.append(json.load(connection.getresponse()))

    with running_server("--registry", registry) as server:
        clients = [threading.Thread(target=ask) for _ in range(16)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()

    assert answers == [{"predictions": [4.0]}] * 16


def chunked(*pieces):
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (*pieces, b""))


def raw(base, request):
    """Everything the server says to these bytes until it closes."""
    host, port = base.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(request)
        reply = b""
        while piece := connection.recv(1 << 16):
            reply += piece
    return reply


def children(pid):
    """Process ids, by `ps`, which is on Linux and macOS."""
    run = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True)
    rows = [line.split() for line in run.stdout.splitlines()]
    return [int(child) for child, parent in rows if parent == str(pid)]


def alive(pid):
    """Neither gone nor waiting to be reaped."""
    state = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True
    ).stdout.strip()
    return bool(state) and not state.startswith("Z")


def wait_until(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
