"""Credentials from the container endpoint, which a function restored from a SnapStart snapshot has to ask."""

import json
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from tensorlet.errors import StorageUnavailable
from tensorlet.registry.store import open_store

TOKEN = "Bearer of the environment"


class Aws(BaseHTTPRequestHandler):
    """Both ends in one: `/credentials` as Lambda offers it, anything else an object of S3."""

    def do_GET(self):
        self.server.requests.append((self.path, dict(self.headers)))
        if self.path != "/credentials":
            self.reply(200, b"object")
        elif self.headers["Authorization"] == TOKEN:
            self.server.issued += 1
            expiry = datetime.now(UTC) + self.server.lifetime
            document = {
                "AccessKeyId": f"KEY{self.server.issued}",
                "SecretAccessKey": "secret",
                "Token": f"session-{self.server.issued}",
                "Expiration": expiry.strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
            self.reply(200, json.dumps(document).encode())
        else:
            self.reply(403, b"{}")

    def reply(self, status, body):
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.send_header("etag", '"1"')
        self.send_header("last-modified", "Mon, 23 Nov 2026 21:00:00 GMT")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Quiet."""


@pytest.fixture
def aws():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Aws)
    server.requests, server.issued, server.lifetime = [], 0, timedelta(hours=6)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def environ(aws, token=TOKEN):
    url = f"http://127.0.0.1:{aws.server_port}"
    return {
        "AWS_ENDPOINT_URL_S3": url,
        "AWS_REGION": "eu-west-1",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{url}/credentials",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": token,
    }


def signatures(aws):
    """The access key and the session token of every request to S3."""
    return [
        (
            headers["authorization"].partition("Credential=")[2].partition("/")[0],
            headers["x-amz-security-token"],
        )
        for path, headers in aws.requests
        if path != "/credentials"
    ]


def test_requests_are_signed_with_the_credentials_of_the_endpoint(aws):
    store = open_store("s3://bucket/registry", environ(aws))

    assert bytes(store.get("model/aliases.json").data) == b"object"

    assert aws.requests[0][0] == "/credentials"
    assert signatures(aws) == [("KEY1", "session-1")]


def test_credentials_are_asked_for_once_while_they_last(aws):
    store = open_store("s3://bucket/registry", environ(aws))
    for _ in range(3):
        store.get("key")

    assert aws.issued == 1


def test_expired_credentials_are_asked_for_again(aws):
    aws.lifetime = timedelta(0)
    store = open_store("s3://bucket/registry", environ(aws))
    store.get("key")
    store.get("key")

    assert signatures(aws) == [("KEY1", "session-1"), ("KEY2", "session-2")]


def test_an_endpoint_that_refuses_us_is_storage_that_is_unavailable(aws):
    store = open_store("s3://bucket/registry", environ(aws, token="stale"))

    with pytest.raises(StorageUnavailable):
        store.get("key")
