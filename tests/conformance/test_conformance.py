"""The conformance suite of both protocols: one test for each entry of cases/*.json, against any server.

    python -m pytest tests/conformance --base-url http://HOST:PORT

Without `--base-url` our own server is started. Another server needs the models of `tests.conformance.models`; one
that speaks a single protocol is checked with `-k V2` or `-k TFS`.
Entries of level "tensorlet" are our choice where specifications are silent or servers differ; they are skipped for
other servers unless `--all-levels` is given.

An entry has: the `clause` it tests; `request` ("METHOD /path"), `headers`, and a body as `json`, `text` or `hex`,
with `binary` (hex) behind the JSON and a `coding` (gzip, deflate) around all; the expected `status` (one, or a
list); of the reply: JSON that must be contained (`reply`), in one element of a list (`reply_any`), member names that
must (`reply_has`) or must not (`reply_lacks`) be there, `reply_text` that must occur, the bytes behind the JSON
(`reply_binary`, hex), headers (`reply_headers`, null for absent), and words of the `error`. {version} stands for the
version of half_plus_two, {json_size} for the length of the JSON.
"""

import gzip
import json
import zlib
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

CASES = [
    case
    for file in sorted(Path(__file__).parent.glob("cases/*.json"))
    for case in json.loads(file.read_text(encoding="utf-8"))
]
JSON_SIZE = "inference-header-content-length"
DECODERS = {"gzip": gzip.decompress, "deflate": zlib.decompress}
ENCODERS = {"gzip": gzip.compress, "deflate": zlib.compress}


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    def split(self) -> tuple[bytes, bytes]:
        """The JSON, and the binary tensors behind it."""
        size = self.headers.get(JSON_SIZE)
        return (self.body, b"") if size is None else (self.body[: int(size)], self.body[int(size) :])


@pytest.mark.parametrize("case", [pytest.param(c, id=f"{c['clause']}: {c['name']}") for c in CASES])
def test_the_server_conforms(
    case: dict[str, Any], base_url: str, version: str, request: pytest.FixtureRequest
):
    if (
        case.get("level") == "tensorlet"
        and request.config.getoption("--base-url", default="")
        and not request.config.getoption("--all-levels", default=False)
    ):
        pytest.skip("our own choice, not the protocol's")
    case = json.loads(json.dumps(case).replace("{version}", version))

    reply = send(base_url, case)

    statuses = case["status"] if isinstance(case["status"], list) else [case["status"]]
    assert reply.status in statuses, reply.body[:500]
    text, binary = reply.split()
    if reply.status != 200:
        check_error(text, case.get("error", ""), case["request"])
    for name, value in case.get("reply_headers", {}).items():
        assert reply.headers.get(name) == value, name
    if "reply" in case:
        check_contains(json.loads(text), case["reply"], "$")
    if "reply_any" in case:
        assert any(contains(item, case["reply_any"]) for item in json.loads(text)), text[:500]
    for name in case.get("reply_has", ()):
        assert name in json.loads(text)
    for name in case.get("reply_lacks", ()):
        assert name not in json.loads(text)
    assert case.get("reply_text", "") in text.decode().replace(", ", ",").replace(": ", ":")
    if "reply_binary" in case:
        assert binary.hex() == case["reply_binary"]


def send(base_url: str, case: dict[str, Any]) -> Reply:
    """Send the request exactly as the case has it: the path is not encoded once more."""
    method, path = case["request"].split(" ", 1)
    body, headers = encode(case)
    base = urlsplit(base_url)
    connect = HTTPSConnection if base.scheme == "https" else HTTPConnection
    connection = connect(base.netloc, timeout=30)
    try:
        connection.request(method, base.path + path, body, headers)
        answer = connection.getresponse()
        received = {name.lower(): value for name, value in answer.getheaders()}
        content = answer.read()
    finally:
        connection.close()
    decode = DECODERS.get(received.get("content-encoding", ""), bytes)
    return Reply(answer.status, received, decode(content))


def encode(case: dict[str, Any]) -> tuple[bytes, dict[str, str]]:
    headers: dict[str, str | None] = {}
    size = 0
    if "json" in case:
        body = json.dumps(case["json"]).encode()
        size = len(body)
    elif "hex" in case:
        body = bytes.fromhex(case["hex"])
    else:
        body = case.get("text", "").encode()
    if "binary" in case:
        body += bytes.fromhex(case["binary"])
        headers[JSON_SIZE] = str(size)
    given = {name.lower(): value for name, value in case.get("headers", {}).items()}
    headers |= {name: value and value.replace("{json_size}", str(size)) for name, value in given.items()}
    if "coding" in case:
        headers["content-encoding"] = case["coding"]
        body = ENCODERS[case["coding"]](body)
    return body, {name: value for name, value in headers.items() if value is not None}


def check_error(text: bytes, words: str | list[str], request: str) -> None:
    """Every failure is `{"error": "..."}`, and says what the case expects."""
    if request.startswith("HEAD"):
        return
    document = json.loads(text)
    assert isinstance(document["error"], str)
    assert document["error"]
    for part in [words] if isinstance(words, str) else words:
        assert part in document["error"]


def contains(found: Any, expected: Any) -> bool:
    try:
        check_contains(found, expected, "$")
    except AssertionError:
        return False
    return True


def check_contains(found: Any, expected: Any, where: str) -> None:
    """Objects may have more members than expected; lists are of the same length; numbers compare as numbers."""
    if isinstance(expected, dict):
        assert isinstance(found, dict), where
        for name, value in expected.items():
            assert name in found, f"{where}.{name}"
            check_contains(found[name], value, f"{where}.{name}")
    elif isinstance(expected, list):
        assert isinstance(found, list), where
        assert len(found) == len(expected), where
        for index, (item, value) in enumerate(zip(found, expected, strict=True)):
            check_contains(item, value, f"{where}[{index}]")
    elif isinstance(expected, bool) or not isinstance(expected, int | float):
        assert found == expected, where
        assert type(found) is type(expected), where
    else:
        assert not isinstance(found, bool), where
        assert found == expected, where
