"""API Gateway and Function URL events to requests, responses to their replies.

Payload format 2.0 (HTTP APIs, Function URLs) has `rawPath`; format 1.0 (REST APIs) has `path`.
Source: API Gateway developer guide, "Lambda proxy integrations".
"""

from collections.abc import Callable, Mapping
from typing import Any

from tensorlet.errors import InvalidRequest
from tensorlet.http.app import LARGE_PAYLOADS, App, error_response
from tensorlet.http.message import Request, Response

ENVELOPE_BYTES = 1024  # status, headers and names around the body
SURELY_SMALL_BYTES = 1 << 20  # not worth counting


def make_handler(app: App) -> Callable[[dict[str, Any], Any], dict[str, Any]]:
    """A Lambda handler that answers with `app`."""

    def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
        try:
            request = request_from_event(event, context)
        except InvalidRequest as error:
            return reply_from_response(error_response(400, str(error)))
        response = app.handle(request)
        reply = reply_from_response(response)
        limit = app.limits.max_response_bytes
        if reply_bytes(reply) > limit:
            message = f"reply: expected at most {limit} bytes, got {reply_bytes(reply)}; {LARGE_PAYLOADS}"
            refusal = error_response(413, message)
            refusal.headers["x-request-id"] = request.id
            return reply_from_response(refusal)
        return reply

    return handler


def request_from_event(event: Mapping[str, Any], context: Any) -> Request:
    """Raises InvalidRequest for a body that is not the base64 its event says it is."""
    http = event.get("requestContext", {}).get("http")
    if http is not None:
        method, path = http["method"], event["rawPath"]
        stage = event["requestContext"].get("stage", "$default")
        if stage != "$default":
            path = path.removeprefix(f"/{stage}") or "/"
    elif "httpMethod" in event:
        method, path = event["httpMethod"], event["path"]
    else:
        raise InvalidRequest("event: expected an API Gateway or Function URL event")
    given = event.get("headers") or {}
    headers = dict(zip(map(str.lower, given), given.values(), strict=True))
    if None in headers.values():
        headers = {name: value or "" for name, value in headers.items()}
    return Request(method, path, headers, _body(event), getattr(context, "aws_request_id", ""))


def reply_from_response(response: Response) -> dict[str, Any]:
    """A proxy reply; a body that is not plain JSON text goes as base64."""
    text = (
        response.headers.get("content-type") == "application/json"
        and "content-encoding" not in response.headers
    )
    if text:
        body = bytes(response.body).decode()
    else:
        import pybase64

        body = pybase64.b64encode_as_string(response.body)
    return {
        "statusCode": response.status,
        "headers": response.headers,
        "body": body,
        "isBase64Encoded": not text,
    }


def reply_bytes(reply: Mapping[str, Any]) -> int:
    """The length of a reply as Lambda counts it: as JSON, in which quotes and backslashes of a text are escaped."""
    body: str = reply["body"]
    if reply["isBase64Encoded"] or len(body) < SURELY_SMALL_BYTES:
        return len(body) + ENVELOPE_BYTES
    return len(body.encode()) + body.count('"') + body.count("\\") + ENVELOPE_BYTES


def _body(event: Mapping[str, Any]) -> Any:
    body = event.get("body") or ""
    if not event.get("isBase64Encoded"):
        return body.encode("utf-8", "surrogatepass")  # what is no UTF-8 is refused as JSON later
    import pybase64

    try:
        return pybase64.b64decode_as_bytearray(body, validate=True)
    except ValueError as error:
        raise InvalidRequest(f"event body is not base64: {error}") from None
