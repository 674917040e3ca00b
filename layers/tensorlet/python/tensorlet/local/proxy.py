"""A local server that signs every request and passes it on to a deployed API with IAM authorization.

For clients that cannot sign: they talk to http://127.0.0.1:PORT as if the API were there.
Bodies go through whole and unread, both ways; streaming is left to the API, which has none.

Sources: AWS Signature Version 4 (botocore's implementation, so that every kind of AWS credentials works);
RFC 9110 section 7.6.1 for the headers that belong to one connection.
"""

import json
import re
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import SplitResult, urlsplit

from tensorlet.errors import InvalidRequest, InvalidSetting

SERVICE = "execute-api"
TIMEOUT_S = 60  # an HTTP API answers within 30
MAX_BODY_BYTES = 10 << 20  # what API Gateway takes
ONE_CONNECTION = {
    *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection"),
    *("te", "trailer", "transfer-encoding", "upgrade"),
}
OURS = {*ONE_CONNECTION, "host", "content-length", "authorization"}  # and written anew


def serve(url: str, host: str, port: int, region: str | None) -> int:
    """Sign and pass on until Ctrl-C; prints `listening on http://HOST:PORT` once ready.

    Raises:
        InvalidRequest: `url` is not one of a server.
        InvalidSetting: there is no region, or there are no credentials.
    """
    server = make_server(Signer(url, region), host, port)
    print(f"listening on http://{host}:{server.server_address[1]}", flush=True)
    try:
        server.serve_forever()
    finally:
        server.server_close()
    return 0


class Signer:
    """Signs requests to one API, with the credentials the AWS command line would use, fresh for each request."""

    def __init__(self, url: str, region: str | None = None):
        from botocore.session import Session

        self.target = parse_target(url)
        self.region = (
            region or region_of(self.target.hostname or "") or Session().get_config_variable("region")
        )
        if not self.region:
            raise InvalidSetting("AWS_REGION: expected the API's region, there or in --region, got nothing")
        self._credentials = Session().get_credentials()
        if self._credentials is None:
            raise InvalidSetting("no AWS credentials: set AWS_PROFILE, or run `aws configure`")

    def headers(self, method: str, path: str, headers: dict[str, str], body: bytes) -> dict[str, str]:
        """`headers` and those that sign them, for a request to `path`, which is as it goes over the wire."""
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest

        url = f"{self.target.scheme}://{self.target.netloc}{self.target.path.rstrip('/')}{path}"
        request = AWSRequest(method, url, headers, body)
        SigV4Auth(self._credentials.get_frozen_credentials(), SERVICE, self.region).add_auth(request)
        return dict(request.headers.items())

    def send(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[HTTPResponse, bytes]:
        """The API's reply and its body. Raises OSError, HTTPException."""
        kind = HTTPSConnection if self.target.scheme == "https" else HTTPConnection
        connection = kind(self.target.netloc, timeout=TIMEOUT_S)
        try:
            signed = self.headers(method, path, headers, body)
            connection.putrequest(method, f"{self.target.path.rstrip('/')}{path}", skip_accept_encoding=True)
            for name, value in {**signed, "Content-Length": str(len(body))}.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            response = connection.getresponse()
            return response, response.read()
        finally:
            connection.close()


def parse_target(url: str) -> SplitResult:
    """Raises InvalidRequest: not http or https with a host."""
    target = urlsplit(url)
    if target.scheme not in ("http", "https") or not target.hostname:
        raise InvalidRequest(f"--url: expected https://ID.execute-api.REGION.amazonaws.com, got {url!r}")
    return target


def region_of(host: str) -> str | None:
    """`ID.execute-api.REGION.amazonaws.com` names its region; a domain of one's own does not."""
    found = re.search(r"\.execute-api\.([a-z0-9-]+)\.amazonaws\.com", host)
    return found[1] if found else None


def make_server(signer: Signer, host: str, port: int) -> ThreadingHTTPServer:
    """A server on a socket of its own, not yet serving."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # it would hold a reply's body back until its head is acknowledged

        def pass_on(self) -> None:
            body = self.body()
            if body is None:
                return
            kept = {name: value for name, value in self.headers.items() if name.lower() not in OURS}
            try:
                response, content = signer.send(self.command, self.path, kept, body)
            except (OSError, HTTPException) as error:
                self.refuse(502, f"{signer.target.netloc} did not answer: {error}")
                return
            headers = [
                (name, value)
                for name, value in response.getheaders()
                if name.lower() not in {*ONE_CONNECTION, "content-length"}
            ]
            self.reply(response.status, headers, content)

        def body(self) -> bytes | None:
            """The request's body; None after it has been refused."""
            length = self.headers.get("Content-Length", "0")
            if "Transfer-Encoding" in self.headers or not length.isdecimal():
                self.refuse(411, "expected Content-Length: the whole body is signed")
            elif int(length) > MAX_BODY_BYTES:
                self.refuse(413, f"the body has {length} bytes, the API takes {MAX_BODY_BYTES}")
            else:
                return self.rfile.read(int(length))
            return None

        def refuse(self, status: int, reason: str) -> None:
            self.close_connection = True  # what follows may be the body
            self.reply(status, [("Content-Type", "application/json")], json.dumps({"error": reason}).encode())

        def reply(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def log_message(self, format: str, *values: Any) -> None:
            """Quiet: the API keeps the log."""

        do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_OPTIONS = do_PATCH = pass_on

    return ThreadingHTTPServer((host, port), Handler)
