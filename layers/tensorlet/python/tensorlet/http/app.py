"""The application: a request in, a response out, whatever the transport."""

from tensorlet.errors import MethodNotAllowed, PayloadTooLarge, TensorletError
from tensorlet.http.content_coding import MIN_COMPRESSED_BYTES, accepted_coding, compress, decompress
from tensorlet.http.message import Request, Response, json_response
from tensorlet.http.routes import match
from tensorlet.http.status import RETRY_AFTER_S, status_of
from tensorlet.serving.service import ModelService

LARGE_PAYLOADS = (
    "send large payloads as a file by POST /v2/models/{model}/jobs, or ask for fewer rows at once"
)
MAX_MESSAGE = 1024  # characters of an error text: it may quote its caller
# The answer to a browser that asks whether a page of another origin may call (Fetch standard, "CORS protocol").
PREFLIGHT = {"access-control-allow-methods": "POST, GET", "access-control-allow-headers": "*"}


class App:
    """Both protocols over one model service."""

    def __init__(self, service: ModelService):
        self.service = service
        self.limits = service.settings

    def handle(self, request: Request) -> Response:
        """Answer `request`; every failure is an answer too, and only our own faults are a 500."""
        try:
            response = self._answer(request)
        except TensorletError as error:
            response = error_response(status_of(error), str(error))
            if isinstance(error, MethodNotAllowed):
                response.headers["allow"] = ", ".join(error.allowed)
        except Exception:
            log_failure(request)
            response = error_response(500, f"internal error; the log of request {request.id} says more")
        if request.id:
            response.headers["x-request-id"] = request.id
        if self.limits.cors_origin:
            response.headers["access-control-allow-origin"] = self.limits.cors_origin
        return response

    def _answer(self, request: Request) -> Response:
        if request.method == "OPTIONS" and self.limits.cors_origin:
            return Response(204, dict(PREFLIGHT))
        answer, names = match(request)
        limit = self.limits.max_body_bytes
        if len(request.body) > limit:
            raise PayloadTooLarge(
                f"body: expected at most {limit} bytes, got {len(request.body)}; {LARGE_PAYLOADS}"
            )
        if "content-encoding" in request.headers:
            body = decompress(request.body, request.headers, self.limits.max_decompressed_bytes)
            request = request._replace(body=body)
        response: Response = answer(self.service, request, **names)
        accept = request.headers.get("accept-encoding")
        return compressed(response, accept) if accept else response


def compressed(response: Response, accept_encoding: str) -> Response:
    """The response in a coding its receiver accepts, where that is worth it."""
    coding = accepted_coding(accept_encoding)
    if coding is None or len(response.body) < MIN_COMPRESSED_BYTES:
        return response
    headers = {**response.headers, "content-encoding": coding, "vary": "accept-encoding"}
    return response._replace(headers=headers, body=compress(response.body, coding))


def error_response(status: int, message: str) -> Response:
    """`{"error": message}`, the shape both protocols share."""
    if len(message) > MAX_MESSAGE:
        message = f"{message[: MAX_MESSAGE - 3]}..."
    # Names from the path can hold lone surrogates, which JSON text cannot.
    text = message.encode("utf-8", "backslashreplace").decode()
    response = json_response({"error": text}, status=status)
    if status in RETRY_AFTER_S:
        response.headers["retry-after"] = RETRY_AFTER_S[status]
    if status == 415:
        response.headers["accept-encoding"] = "gzip, deflate"
    return response


def log_failure(request: Request) -> None:
    """One structured line with the traceback of the exception being handled."""
    from tensorlet.telemetry import logger  # imported when a line is really written: 30 ms

    logger().exception("request failed", extra={"request": request.id, "path": request.path[:256]})
