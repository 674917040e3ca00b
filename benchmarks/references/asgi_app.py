"""A bare ASGI application: no framework, no validation."""

from typing import Any

from predict import predict


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    lengths = [value for name, value in scope["headers"] if name == b"inference-header-content-length"]
    content_type, head, out = predict(memoryview(body), int(lengths[0]) if lengths else None)
    headers = [(b"content-type", content_type), (b"content-length", b"%d" % len(out))]
    if head:
        headers.append((b"inference-header-content-length", b"%d" % head))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": out})
