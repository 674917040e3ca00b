"""`tensorlet proxy`: a server that checks signatures as AWS does receives what a client without any sent."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from tensorlet.cli import main
from tensorlet.errors import InvalidRequest, InvalidSetting
from tensorlet.local.proxy import Signer, make_server, region_of

CREDENTIALS = Credentials("AKIDEXAMPLE", "the secret", "the session")
BINARY = bytes(range(256)) * 16


class Api(BaseHTTPRequestHandler):
    """An API with IAM authorization: computes the signature anew from what arrived, and echoes the body."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        allowed = "Authorization" in self.headers and self.headers["Authorization"] == self.signature(body)
        status = (418 if self.path == "/teapot" else 200) if allowed else 403
        content = body if allowed else b'{"message":"Forbidden"}'
        self.send_response(status)
        self.send_header("Content-Type", self.headers.get("Content-Type", "application/json"))
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Seen", f"{self.command} {self.path}")
        self.send_header("Seen-Client", self.headers.get("X-Client", ""))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def signature(self, body: bytes) -> str | None:
        """What `Authorization` must be, by the date and the signed headers that came."""
        signed = self.headers.get("Authorization", "").partition("SignedHeaders=")[2].partition(",")[0]
        headers = {
            name: self.headers[name] for name in signed.split(";") if name and name != "x-amz-security-token"
        }
        url = f"http://{self.headers['Host']}{self.path}"
        request = AWSRequest(self.command, url, headers, body)
        date = self.headers.get("X-Amz-Date")
        if not date:
            return None
        signer = SigV4Auth(CREDENTIALS, "execute-api", "eu-west-1")
        request.context["timestamp"] = date
        signer._modify_request_before_signing(request)
        request.headers.replace_header("X-Amz-Date", date)
        canonical = signer.canonical_request(request)
        scope = signer.signature(signer.string_to_sign(request, canonical), request)
        names = signer.signed_headers(signer.headers_to_sign(request))
        return (
            f"AWS4-HMAC-SHA256 Credential={signer.scope(request)}, SignedHeaders={names}, Signature={scope}"
        )

    do_GET = do_POST = do_HEAD = do_DELETE = answer

    def log_message(self, format: str, *values: object) -> None:
        """Quiet."""


@contextmanager
def running(server: ThreadingHTTPServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def credentials(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", CREDENTIALS.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CREDENTIALS.secret_key)
    monkeypatch.setenv("AWS_SESSION_TOKEN", CREDENTIALS.token)


@pytest.fixture
def api():
    with running(ThreadingHTTPServer(("127.0.0.1", 0), Api)) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def proxy(api, credentials):
    """The proxy's port."""
    with running(make_server(Signer(api, "eu-west-1"), "127.0.0.1", 0)) as port:
        yield port


def ask(port, method, path, body=None, **headers):
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()
    finally:
        connection.close()


def test_the_api_refuses_who_does_not_sign(api):
    assert ask(int(api.rpartition(":")[2]), "GET", "/")[0] == 403


@pytest.mark.parametrize(
    "path",
    ["/v1/models/digits:predict", "/v2/models/a%20b/infer?x=1&y=%2F&x=0", "/", "/v2//models", "/%C3%BC?q"],
)
def test_the_signature_is_right_whatever_the_path(proxy, path):
    status, headers, body = ask(proxy, "POST", path, b"{}")

    assert (status, body) == (200, b"{}")
    assert headers["Seen"] == f"POST {path}"


def test_binary_bodies_pass_intact_both_ways(proxy):
    status, headers, body = ask(
        proxy, "POST", "/v2/models/m/infer", BINARY, Content_Type="application/octet-stream"
    )

    assert (status, body) == (200, BINARY)
    assert headers["Content-Type"] == "application/octet-stream"


def test_a_clients_headers_pass_and_its_own_authorization_does_not(proxy):
    status, headers, _ = ask(proxy, "GET", "/", X_Client="tfs", Authorization="Bearer nobody")

    assert (status, headers["Seen-Client"]) == (200, "tfs")


def test_the_apis_status_is_the_proxys(proxy):
    assert ask(proxy, "GET", "/teapot")[0] == 418


def test_head_has_no_body(proxy):
    assert ask(proxy, "HEAD", "/")[::2] == (200, b"")


def test_one_connection_carries_several_requests(proxy):
    connection = HTTPConnection("127.0.0.1", proxy, timeout=10)
    for body in (b"one", b"two"):
        connection.request("POST", "/", body)
        assert connection.getresponse().read() == body
    connection.close()


def test_an_api_that_does_not_answer_is_a_bad_gateway(credentials):
    with running(make_server(Signer("http://127.0.0.1:9", "eu-west-1"), "127.0.0.1", 0)) as port:
        status, _, body = ask(port, "GET", "/")

    assert status == 502
    assert b"127.0.0.1:9 did not answer" in body


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Transfer-Encoding": "chunked"}, 411),
        ({"Content-Length": "many"}, 411),
        ({"Content-Length": str(11 << 20)}, 413),
    ],
)
def test_a_body_that_cannot_be_signed_is_refused(proxy, headers, status):
    connection = HTTPConnection("127.0.0.1", proxy, timeout=10)
    connection.putrequest("POST", "/")
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()

    assert connection.getresponse().status == status
    connection.close()


@pytest.mark.parametrize("url", ["", "digits", "ftp://host/", "https://"])
def test_a_url_of_no_server_is_refused(url):
    with pytest.raises(InvalidRequest, match="--url"):
        Signer(url, "eu-west-1")


def test_the_region_is_in_the_url_of_an_api():
    assert region_of("abc123.execute-api.eu-central-1.amazonaws.com") == "eu-central-1"
    assert region_of("models.example.com") is None


def test_without_a_region_the_way_to_give_one_is_named(monkeypatch, tmp_path, credentials):
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))

    with pytest.raises(InvalidSetting, match="--region"):
        Signer("https://models.example.com")


def test_without_credentials_the_command_says_so_in_a_line(monkeypatch, tmp_path, capsys):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    status = main(["proxy", "--url", "https://abc.execute-api.eu-west-1.amazonaws.com"])

    assert status == 1
    assert "no AWS credentials" in capsys.readouterr().err
