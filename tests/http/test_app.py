"""The application: limits, codings, errors and headers that every route shares."""

import gzip
import json
import time
import zlib

import pytest
from tensorlet import errors
from tensorlet.http.app import MAX_MESSAGE
from tensorlet.http.content_coding import accepted_coding
from tensorlet.http.status import RETRY_AFTER_S, STATUS, status_of

from tests.http.conftest import ask, error_of, make_app

INFER = "POST /v2/models/half_plus_two/infer"
BODY = {"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1.0]}]}


def all_errors(kind=errors.TensorletError):
    """The tree in errors.py; the developer tools have errors of their own, which no request meets."""
    below = [child for child in kind.__subclasses__() if child.__module__ == errors.__name__]
    return [kind, *(leaf for child in below for leaf in all_errors(child))]


@pytest.mark.parametrize("kind", all_errors()[1:], ids=lambda kind: kind.__name__)
def test_every_error_has_a_status(kind):
    assert 400 <= status_of(kind("x")) <= 599


def test_every_status_row_is_an_error_of_the_tree():
    assert set(STATUS) <= set(all_errors())


def test_a_reply_says_the_version_and_file_that_answered_and_the_request(app):
    response = ask(app, INFER, BODY)

    assert response.headers["tensorlet-model"] == "half_plus_two/1"
    assert response.headers["tensorlet-artifact"] == "model.onnx"
    assert response.headers["x-request-id"] == "r1"


def test_an_error_carries_the_request_id_too(app):
    assert ask(app, "GET /nothing").headers["x-request-id"] == "r1"


def test_a_body_over_the_limit_is_refused(models):
    app = make_app(models, TENSORLET_MAX_BODY_BYTES="10")

    response = ask(app, INFER, BODY)

    assert response.status == 413
    assert "at most 10 bytes" in error_of(response)


@pytest.mark.parametrize(("coding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_a_compressed_bomb_is_refused_before_it_takes_memory(models, coding, compress):
    app = make_app(models, TENSORLET_MAX_DECOMPRESSED_BYTES="100000")
    bomb = compress(b" " * 10_000_000)

    start = time.process_time()
    response = ask(app, INFER, bomb, content_encoding=coding)

    assert response.status == 413
    assert time.process_time() - start < 1


def test_a_bomb_in_many_gzip_members_is_refused(models):
    app = make_app(models, TENSORLET_MAX_DECOMPRESSED_BYTES="100000")

    assert ask(app, INFER, gzip.compress(b" " * 60_000) * 2, content_encoding="gzip").status == 413
    assert ask(app, INFER, gzip.compress(b"") * 9000, content_encoding="gzip").status == 400


def test_several_gzip_members_are_one_body(app):
    text = json.dumps(BODY).encode()
    body = gzip.compress(text[:10]) + gzip.compress(text[10:])

    assert ask(app, INFER, body, content_encoding="gzip").status == 200


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(gzip.compress(b"{}")[:-1], id="cut short"),
        pytest.param(gzip.compress(b"{}") + b"rest", id="something behind it"),
        pytest.param(b"", id="empty"),
        pytest.param(gzip.compress(b"{}")[:-8] + b"\0" * 8, id="wrong checksum"),
    ],
)
def test_a_broken_gzip_body_is_the_callers_mistake(app, body):
    assert ask(app, INFER, body, content_encoding="gzip").status == 400


def test_bytes_after_a_deflate_body_are_refused(app):
    assert ask(app, INFER, zlib.compress(b"{}") * 2, content_encoding="deflate").status == 400


def test_json_of_too_many_values_is_refused_before_it_is_parsed(models):
    app = make_app(models, TENSORLET_MAX_JSON_ELEMENTS="100")
    body = {"inputs": [{"name": "x", "shape": [200], "datatype": "FP32", "data": [1] * 200}]}

    response = ask(app, INFER, body)

    assert response.status == 413
    assert "at most 100 values" in error_of(response)


def test_a_tensor_over_the_limit_is_refused_by_its_shape(models):
    app = make_app(models, TENSORLET_MAX_TENSOR_BYTES="100")
    body = {"inputs": [{"name": "x", "shape": [26], "datatype": "FP32", "data": []}]}

    assert "over the limit of 100" in error_of(ask(app, INFER, body))


def test_a_shape_of_very_many_dimensions_costs_nothing(app):
    body = {"inputs": [{"name": "x", "shape": [2**31 - 1] * 300_000, "datatype": "FP32", "data": []}]}

    start = time.process_time()
    response = ask(app, INFER, body)

    assert response.status == 400
    assert time.process_time() - start < 2


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'"' + b'\\"' * 100_000, id="quotes in a string without end"),
        pytest.param(b'{"a":"' + b"[" * 200_000 + b'"', id="brackets in a string"),
        pytest.param(b"[" * 200_000, id="nothing but depth"),
        pytest.param(b'"' * 200_000 + b"[" * 200, id="nothing but quotes"),
    ],
)
def test_a_hostile_body_is_read_once(app, body):
    start = time.process_time()
    response = ask(app, INFER, body)

    assert response.status == 400
    assert time.process_time() - start < 2


def test_an_error_text_quotes_only_the_beginning_of_its_caller(app):
    name = "x" * 100_000

    response = ask(app, INFER, {"inputs": [{"name": name, "shape": [1], "datatype": "FP32", "data": [1]}]})

    assert response.status == 400
    assert len(error_of(response)) <= MAX_MESSAGE


def test_a_lone_surrogate_in_the_path_is_no_fault_of_ours(app):
    response = ask(app, "GET /v1/models/half_plus_two/labels/\udcff")

    assert response.status == 400


def test_405_lists_the_methods_there_are(app):
    response = ask(app, "PUT /v2/health/live")

    assert response.status == 405
    assert response.headers["allow"] == "GET"


def test_an_unavailable_model_says_when_to_ask_again(app, monkeypatch):
    def refuse(*_):
        raise errors.ModelUnavailable("busy")

    monkeypatch.setattr(app.service, "model", refuse)
    response = ask(app, INFER, BODY)

    assert response.status == 503
    assert response.headers["retry-after"] == RETRY_AFTER_S[503]


def test_our_own_fault_is_a_500_that_tells_nothing_but_its_id(app, monkeypatch, capsys):
    def fail(*_):
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(app.service, "model", fail)
    response = ask(app, INFER, BODY)

    assert response.status == 500
    assert error_of(response) == "internal error; the log of request r1 says more"
    assert "ZeroDivisionError" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        ("gzip", "gzip"),
        ("deflate, gzip", "gzip"),
        ("gzip;q=0.2, deflate;q=0.8", "deflate"),
        ("*", "gzip"),
        ("identity", None),
        ("gzip;q=0", None),
        ("gzip;q=zero", None),
        ("br, zstd", None),
        ("gzip;q=nan", None),
        (";;,=,q", None),
    ],
)
def test_the_reply_is_coded_as_its_receiver_prefers(accept, coding):
    assert accepted_coding(accept) == coding


def test_cors_is_off_unless_a_setting_names_an_origin(app, models):
    assert "access-control-allow-origin" not in ask(app, "GET /v2").headers

    open_app = make_app(models, TENSORLET_CORS_ORIGIN="https://example.org")
    preflight = ask(open_app, "OPTIONS /v1/models/half_plus_two:predict", origin="https://example.org")

    assert preflight.status == 204
    assert preflight.headers["access-control-allow-methods"] == "POST, GET"
    assert ask(open_app, "GET /v2").headers["access-control-allow-origin"] == "https://example.org"


def test_kserve_v1_shapes_are_a_setting(models):
    app = make_app(models, TENSORLET_KSERVE_V1="on")

    assert "half_plus_two" in json.loads(ask(app, "GET /v1/models").body)["models"]
    assert json.loads(ask(app, "GET /v1/models/half_plus_two").body) == {
        "name": "half_plus_two",
        "ready": True,
    }


def test_one_model_can_stand_for_invocations(models):
    app = make_app(models, TENSORLET_MODEL="half_plus_two@stable")

    assert json.loads(ask(app, "POST /invocations", {"instances": [1.0]}).body) == {"predictions": [2.5]}
    assert ask(app, "GET /ping").status == 200


def test_ping_fails_while_its_model_is_missing(models):
    assert ask(make_app(models, TENSORLET_MODEL="nothing"), "GET /ping").status == 404
