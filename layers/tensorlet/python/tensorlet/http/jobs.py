"""Jobs over HTTP: for what is larger than a body may be, or takes longer than a gateway waits.

`POST .../jobs` gives a link to upload a file to and the URL of the job; the file lands in the input bucket, where it
is processed like any other one; `GET .../jobs/{id}` says how far it is and gives links to what came out. Nothing is
kept about a job but its files: its id says when the upload link expires, what is uploaded, and with them the key.
"""

import re
import time
from functools import cache
from secrets import token_hex
from typing import Any, NamedTuple

from tensorlet.batch.jobs import WAITING, State, state
from tensorlet.batch.keys import file_type
from tensorlet.batch.options import FILE as OPTIONS_FILE
from tensorlet.batch.options import Options, parse_options
from tensorlet.batch.rows import UnreadableFile
from tensorlet.errors import InvalidRequest, NotFound, UnsupportedFeature
from tensorlet.http.message import Request, Response, json_response
from tensorlet.protocols.json_body import dump_json, parse_json
from tensorlet.registry.store import Store, open_store
from tensorlet.serving.service import ModelService
from tensorlet.settings import Settings

LINK_S = 3600  # for which a link works; a function's credentials may end earlier, and with them the link
ID = re.compile(r"([0-9a-f]{8})([0-9a-f]{24})\.([a-z]+(?:\.gz)?)")
DEFAULT_FORMAT = "jsonl"


class Job(NamedTuple):
    """A job as its id says; `expires` is when its upload link does, in seconds of Unix time."""

    id: str
    key: str
    expires: int


def create(service: ModelService, request: Request, model: str, version: str | None) -> Response:
    """202 with the link to upload to; the body may choose `format` and `options` of the file."""
    inputs, _ = stores(service.settings)
    document = parse_json(request.body, service.settings) if request.body else {}
    if not isinstance(document, dict):
        raise InvalidRequest(f"body: expected an object, got {type(document).__name__}")
    if unknown := sorted(document.keys() - {"format", "options"}):
        raise InvalidRequest(f"body: expected `format` and `options`, got {unknown[0]!r}")
    format, options = document.get("format", DEFAULT_FORMAT), document.get("options")
    check_format(format)
    service.release(model, version)  # unknown ones are refused now, not in a report
    expires = int(time.time()) + LINK_S
    job = job_of(model, version, f"{expires:08x}{token_hex(12)}.{format}")
    if options is not None:
        data = dump_json(options)
        parse_options(data, Options(), "options")
        inputs.put(f"{job.key.rpartition('/')[0]}/{OPTIONS_FILE}", bytes(data))
    path = f"{request.path.rstrip('/')}/{job.id}"
    upload = {"method": "PUT", "url": inputs.sign("PUT", job.key, LINK_S), "expires_in_s": LINK_S}
    answer = {"id": job.id, "state": WAITING, "job": path, "upload": upload}
    return json_response(answer, {"location": path}, status=202)


def look(service: ModelService, request: Request, model: str, version: str | None, id: str) -> Response:
    """How far the job is; once it is done, its counts and links to its files."""
    inputs, results = stores(service.settings)
    job = job_of(model, version, id)
    found = state(inputs, results, job.key)
    if found.name == WAITING and time.time() > job.expires:
        raise NotFound(f"job {id!r}: nothing was uploaded before its link expired")
    return json_response({"id": job.id, "state": found.name, **outcome(found, results)})


def outcome(found: State, results: Store) -> dict[str, Any]:
    """What is known of a job that has ended."""
    report = found.report
    if report is None:
        return {}
    keys = {output.key: results.sign("GET", output.key, LINK_S) for output in report.outputs}
    names = {f"{found.key}.out": "result", f"{found.key}.err.jsonl": "errors"}
    links = {names[key]: url for key, url in keys.items() if key in names}
    links["report"] = results.sign("GET", f"{found.key}.report.json", LINK_S)
    reason = {"reason": report.reason} if report.reason else {}
    return {
        "model": report.model,
        "model_version": report.model_version,
        "rows_in": report.rows_in,
        "rows_out": report.rows_out,
        "rows_failed": report.rows_failed,
        "seconds": report.seconds,
        "estimated_usd": report.estimated_usd,
        **reason,
        "links": links,
        "links_expire_in_s": LINK_S,
    }


def job_of(model: str, version: str | None, id: str) -> Job:
    """Raises NotFound for an id that we never gave."""
    match = ID.fullmatch(id)
    if match is None:
        raise NotFound(f"no job {id[:64]!r}")
    folder = f"{model}@{version}" if version else model
    return Job(id, f"{folder}/jobs/{match[1]}{match[2]}/rows.{match[3]}", int(match[1], 16))


def check_format(format: Any) -> None:
    """Raises InvalidRequest."""
    try:
        found = file_type(f"rows.{format}")
    except UnreadableFile as error:
        raise InvalidRequest(f"format: {error}") from None
    if format != found.format + ".gz" * found.gzipped:
        raise InvalidRequest(f"format: expected {found.format!r}, got {format!r}")


def stores(settings: Settings) -> tuple[Store, Store]:
    """Where files come in, and where results are. Raises UnsupportedFeature."""
    if not settings.input.startswith("s3://") or not settings.output.startswith("s3://"):
        raise UnsupportedFeature(
            "jobs: not supported by this server, whose TENSORLET_INPUT and TENSORLET_OUTPUT name no buckets;"
            " `tensorlet batch FILE` predicts a file of any size"
        )
    return _store(settings.input), _store(settings.output)


_store = cache(open_store)
