"""Whatever a client sends, the answer is its own mistake (4xx), a success, or a feature we name as missing (501)."""

import gzip
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tensorlet.http.message import Request

from tests.conformance.models import DATATYPES
from tests.protocols import strategies
from tests.protocols.strategies import to_body

MODELS = [
    *("half_plus_two", "simple", "animals", "numbers", "scalar", "variable", "text", "signals"),
    *("image_strings", "first_row", "FP16OutputModel", "unheard_of"),
    *(f"identity_{datatype.lower()}" for datatype in DATATYPES),
]
INPUTS = ["x", "INPUT0", "INPUT1", "scores", "text_input", "tag", "signal", "sensor", "strings", "input"]
OUTPUTS = ["y", "x_out", "OUTPUT0", "OUTPUT1", "scores_out", "text_input_out", "strings_bytes"]
ACTIONS = ["predict", "classify", "regress", "explain"]
PARTS = [
    *("/v2", "/v1", "/models", "/half_plus_two", "/versions", "/1", "/labels", "/stable", "/infer", "/ready"),
    *(":predict", "/stats", "/repository", "/index", "/%2e%2e", "//", "%00", "%ff", "/invocations", "?", ":"),
    *(
        "/openapi.json",
        "/docs",
        "/config",
        "/generate",
        "/load",
        "/é",
        "/\udcff",
        "/trace/setting",
        "/metadata",
    ),
]


def check(app, method, path, headers, body):
    response = app.handle(Request(method, path, headers, body, "r1"))

    assert response.status < 500 or response.status == 501, bytes(response.body)
    if response.status >= 400:
        assert json.loads(response.body)["error"]
    return response


@strategies.documents
@given(
    method=st.sampled_from(["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", ""]),
    path=st.one_of(st.lists(st.sampled_from(PARTS)).map("".join), st.text()),
    headers=st.dictionaries(
        st.sampled_from(["content-type", "accept-encoding", "inference-header-content-length", "accept"]),
        st.one_of(st.text(max_size=8), st.sampled_from(["gzip", "text/csv", "0", "5", "٣"])),
        max_size=2,
    ),
    body=st.binary(max_size=30),
)
def test_no_request_line_or_header_breaks_the_server(app, method, path, headers, body):
    check(app, method, path, headers, body)


@strategies.documents
@given(
    model=st.sampled_from(MODELS),
    body=st.one_of(st.binary(max_size=60), strategies.v2_documents(INPUTS, OUTPUTS).map(to_body)),
    binary=st.binary(max_size=40),
    json_size=st.one_of(st.none(), st.just(-1), st.integers(0, 60)),
)
def test_no_v2_body_breaks_the_server(app, model, body, binary, json_size):
    headers = {}
    if json_size is not None:
        headers["inference-header-content-length"] = str(len(body) if json_size == -1 else json_size)
    check(app, "POST", f"/v2/models/{model}/infer", headers, body + binary if headers else body)


@strategies.documents
@given(
    datatype=st.sampled_from(DATATYPES),
    shape=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    binary=st.binary(max_size=48),
    classification=st.integers(0, 3),
)
def test_no_bits_of_a_tensor_break_the_server(app, datatype, shape, binary, classification):
    """Any bytes that fill a tensor come back the same, whatever they mean."""
    inputs = [
        {
            "name": "x",
            "shape": shape,
            "datatype": datatype,
            "parameters": {"binary_data_size": len(binary)},
        }
    ]
    outputs = [
        {"name": "x_out", "parameters": {"binary_data": True, "classification": classification}},
    ]
    text = to_body({"inputs": inputs, "outputs": outputs})
    headers = {"inference-header-content-length": str(len(text))}

    response = check(app, "POST", f"/v2/models/identity_{datatype.lower()}/infer", headers, text + binary)

    if response.status == 200 and not classification:
        assert bytes(response.body[int(response.headers["inference-header-content-length"]) :]) == binary


@strategies.documents
@given(
    model=st.sampled_from(MODELS),
    action=st.sampled_from(ACTIONS),
    body=st.one_of(st.binary(max_size=60), strategies.tfs_documents(INPUTS).map(to_body)),
)
@example(model="text", action="predict", body=b'{"instances":["\\ud800"]}')
@example(model="identity_fp64", action="predict", body=b'{"instances":[[' + b"9" * 4000 + b"]]}")
def test_no_tensorflow_serving_body_breaks_the_server(app, model, action, body):
    check(app, "POST", f"/v1/models/{model}:{action}", {}, body)


@strategies.documents
@given(
    model=st.sampled_from(MODELS),
    route=st.sampled_from(["/v2/models/{}/generate", "/invocations/{}", "/v2/repository/models/{}/load"]),
    content_type=st.sampled_from(["", "text/csv"]),
    body=st.one_of(
        st.binary(max_size=40),
        st.text(alphabet='1,\n"x.', max_size=20).map(str.encode),
        st.dictionaries(
            st.sampled_from(
                [*INPUTS, "dataframe_split", "dataframe_records", "parameters", "data", "columns"]
            ),
            strategies.anything,
            max_size=3,
        ).map(to_body),
        st.fixed_dictionaries(
            {},
            optional={
                "dataframe_split": st.dictionaries(st.sampled_from(["columns", "data"]), strategies.anything),
                "dataframe_records": st.lists(
                    st.dictionaries(st.sampled_from(["x", "tag", "signal", "sensor"]), strategies.anything)
                ),
            },
        ).map(to_body),
    ),
)
def test_no_neighbours_body_breaks_the_server(app, model, route, content_type, body):
    check(app, "POST", route.format(model), {"content-type": content_type}, body)


@given(
    body=st.binary(max_size=60), coding=st.sampled_from(["gzip", "deflate", "br", "gzip, gzip", "identity"])
)
@example(body=gzip.compress(b"{}"), coding="gzip")
@example(body=gzip.compress(gzip.compress(b"{}")), coding="gzip")
def test_no_compressed_body_breaks_the_server(app, body, coding):
    check(app, "POST", "/v1/models/half_plus_two:predict", {"content-encoding": coding}, body)


@pytest.mark.slow
@strategies.documents
@given(document=strategies.anything)
def test_no_json_document_breaks_any_route_that_takes_one(app, document):
    body = to_body(document)
    for path in (
        "/v2/models/simple/infer",
        "/v1/models/signals:predict",
        "/v1/models/animals:classify",
        "/invocations/signals",
        "/v2/repository/index",
        "/v2/repository/models/simple/unload",
        "/v2/models/text/generate_stream",
    ):
        check(app, "POST", path, {}, body)
