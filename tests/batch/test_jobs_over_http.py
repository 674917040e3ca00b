"""Asynchronous jobs: a link to upload to, a URL that says how far it is, and links to what came out."""

import json
from urllib.request import Request, urlopen

import pytest
from tensorlet.batch import Job
from tensorlet.registry.store import Store, open_store

from tests.batch.bench import Bench
from tests.http.conftest import ask, error_of, make_app
from tests.models import linear, publish_onnx

pytestmark = pytest.mark.stack

ROWS = b"[1,2,3,4]\n[1]\n[5,6,7,8]\n"


@pytest.fixture
def app(store: Store, bucket):
    publish_onnx(store, "linear", linear())
    return make_app(store, TENSORLET_INPUT=f"s3://{bucket}", TENSORLET_OUTPUT=f"s3://{bucket}/results")


@pytest.fixture
def bench(app, bucket) -> Bench:
    """The batch function's side of the same buckets."""
    return Bench(app.service, open_store(f"s3://{bucket}"), open_store(f"s3://{bucket}/results"))


def document(response):
    return json.loads(response.body)


def upload(job, data: bytes) -> None:
    headers = {"content-type": "application/octet-stream"}  # urllib's default makes moto read a form
    urlopen(Request(job["upload"]["url"], data, headers, method=job["upload"]["method"]), timeout=10).close()


def download(url: str) -> bytes:
    with urlopen(url, timeout=10) as reply:
        return reply.read()


def only_key(bench: Bench) -> str:
    [key] = [info.key for info in bench.inputs.walk("linear") if not info.key.endswith("_batch.json")]
    return key


def test_a_job_from_its_creation_to_its_results(app, bench: Bench):
    created = ask(app, "POST /v2/models/linear/jobs", {"format": "jsonl"})
    assert created.status == 202
    job = document(created)
    url = created.headers["location"]
    assert (job["job"], job["state"]) == (url, "waiting_for_upload")
    assert document(ask(app, f"GET {url}")) == {"id": job["id"], "state": "waiting_for_upload"}

    upload(job, ROWS)
    assert document(ask(app, f"GET {url}"))["state"] == "queued"
    work = Job(bench.service, bench.inputs, bench.results, only_key(bench))
    work.pin(bench.inputs.head(work.key))
    assert document(ask(app, f"GET {url}"))["state"] == "running"
    work.run()

    done = document(ask(app, f"GET {url}"))
    assert (done["state"], done["rows_in"], done["rows_failed"], done["model_version"]) == ("done", 3, 1, 1)
    assert done["estimated_usd"] > 0
    lines = download(done["links"]["result"]).splitlines()
    assert [line == b"null" for line in lines] == [False, True, False]
    assert json.loads(download(done["links"]["errors"]))["row"] == 1
    assert json.loads(download(done["links"]["report"]))["rows_in"] == 3


def test_a_file_that_fails_says_why(app, bench: Bench):
    created = ask(app, "POST /v2/models/linear/versions/1/jobs", {"format": "csv"})
    upload(document(created), b"\xff\xff")
    [key] = [info.key for info in bench.inputs.walk("linear@1")]
    Job(bench.service, bench.inputs, bench.results, key).run()
    failed = document(ask(app, f"GET {created.headers['location']}"))
    assert failed["state"] == "failed"
    assert "not UTF-8" in failed["reason"]
    assert set(failed["links"]) == {"report"}


def test_options_hold_for_the_job(app, bench: Bench):
    body = {"format": "csv", "options": {"header": False, "join": "input"}}
    created = ask(app, "POST /v2/models/linear/jobs", body)
    upload(document(created), b"1,2,3,4\n")
    Job(bench.service, bench.inputs, bench.results, only_key(bench)).run()
    done = document(ask(app, f"GET {created.headers['location']}"))
    assert download(done["links"]["result"]).startswith(b"1,2,3,4,")


def test_a_job_may_be_created_without_a_body(app):
    assert document(ask(app, "POST /v2/models/linear/jobs"))["id"].endswith(".jsonl")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"format": "xlsx"}, "format: expected a file of .csv"),
        ({"format": 3}, "format: expected a file of .csv"),
        ({"format": "../a.csv"}, "format: expected"),
        ({"options": {"join": "left"}}, "join: expected none or input"),
        ({"options": []}, "options: expected an object"),
        ({"rows": []}, "expected `format` and `options`, got 'rows'"),
        ([], "expected an object, got list"),
    ],
)
def test_a_wrong_request_names_what_is_wrong(app, body, words):
    refused = ask(app, "POST /v2/models/linear/jobs", body)
    assert refused.status == 400
    assert words in error_of(refused)


@pytest.mark.parametrize(
    "id", ["1", "x.csv", "00000000" + "0" * 24 + ".csv", "%2e%2e%2fa.csv", "0" * 32 + ".exe"]
)
def test_a_job_that_never_was_or_has_expired_is_not_found(app, id):
    assert ask(app, f"GET /v2/models/linear/jobs/{id}").status == 404


@pytest.mark.parametrize("path", ["unknown/jobs", "linear/versions/9/jobs"])
def test_a_job_for_an_unknown_model_is_refused_at_once(app, path):
    assert ask(app, f"POST /v2/models/{path}").status == 404


@pytest.mark.parametrize(
    "environ", [{}, {"TENSORLET_INPUT": "file:///in", "TENSORLET_OUTPUT": "file:///out"}]
)
def test_a_server_without_buckets_says_what_else_there_is(store, environ):
    publish_onnx(store, "linear", linear())
    app = make_app(store, **environ)
    for request in ("POST /v2/models/linear/jobs", f"GET /v2/models/linear/jobs/{'0' * 32}.csv"):
        refused = ask(app, request)
        assert refused.status == 501
        assert "TENSORLET_INPUT" in error_of(refused)
        assert "tensorlet batch FILE" in error_of(refused)


def test_a_body_that_is_too_large_is_shown_the_way(store):
    publish_onnx(store, "linear", linear())
    refused = ask(make_app(store, TENSORLET_MAX_BODY_BYTES="10"), "POST /v2/models/linear/infer", b"x" * 11)
    assert refused.status == 413
    assert "POST /v2/models/{model}/jobs" in error_of(refused)
