"""The two routes that explain: what they take, what they answer, and what they refuse."""

import json

import numpy as np
import pytest

from tests.http.conftest import ask, error_of, make_app
from tests.models import linear, linear_weights
from tests.serving.test_explain import publish_explained

X = [[1.0, 2.0, -1.0, 0.5], [0.0, 1.0, 0.0, 0.0]]
V2 = "POST /v2/models/linear/explain"
V1 = "POST /v1/models/linear:explain"
V2_BODY = {"inputs": [{"name": "image", "shape": [2, 4], "datatype": "FP32", "data": X}]}
LABELS = ["ant", "bee", "cat"]


@pytest.fixture
def app(store):
    publish_explained(store, "linear", linear(), labels=LABELS, roles={"scores": "scores"})
    return make_app(store)


def outputs(response):
    assert response.status == 200, bytes(response.body)
    return {output["name"]: output for output in json.loads(response.body)["outputs"]}


def test_v2_answers_with_tensors_named_and_shaped_like_the_inputs(app):
    response = ask(app, V2, {**V2_BODY, "parameters": {"target": "bee"}, "id": "7"})

    found = outputs(response)
    matrix, bias = linear_weights(4, 3)
    assert json.loads(response.body)["id"] == "7"
    assert found["image"]["shape"] == [2, 4] and found["image"]["datatype"] == "FP32"
    np.testing.assert_allclose(found["image"]["data"], (np.array(X) * matrix[:, 1]).ravel(), atol=1e-5)
    assert found["explain:target"]["data"] == [1, 1]
    np.testing.assert_allclose(found["explain:base_value"]["data"], [bias[1]] * 2, atol=1e-5)
    assert response.headers["tensorlet-model"] == "linear/1"
    assert response.headers["tensorlet-explain"] == "integrated_gradients; evaluations=104"


def test_v2_answers_in_binary_where_that_is_asked_for(app):
    response = ask(app, V2, {**V2_BODY, "parameters": {"binary_data_output": True}})

    size = int(response.headers["inference-header-content-length"])
    document = json.loads(bytes(response.body)[:size])
    sizes = [output["parameters"]["binary_data_size"] for output in document["outputs"]]
    assert sizes == [2 * 4 * 4, 2 * 8, 2 * 4, 2 * 4]
    assert len(response.body) == size + sum(sizes)


def test_a_version_and_an_alias_are_explained_by_their_paths(app):
    assert ask(app, "POST /v2/models/linear/versions/1/explain", V2_BODY).status == 200
    assert ask(app, "POST /v1/models/linear/versions/1:explain", {"instances": X}).status == 200
    assert ask(app, "POST /v2/models/linear/versions/9/explain", V2_BODY).status == 404
    assert ask(app, "POST /v1/models/nothing:explain", {"instances": X}).status == 404


def test_kserve_v1_answers_an_explanation_for_each_row(app):
    response = ask(app, V1, {"instances": X, "parameters": {"method": "shap", "samples": 2}})

    reply = json.loads(response.body)
    assert response.status == 200 and reply["method"] == "shap" and reply["output"] == "scores"
    assert len(reply["explanations"]) == len(reply["predictions"]) == 2
    for row, explanation in zip(X, reply["explanations"], strict=True):
        matrix, _ = linear_weights(4, 3)
        np.testing.assert_allclose(
            explanation["attributions"], np.array(row) * matrix[:, explanation["target"]], atol=1e-4
        )
        assert explanation["label"] == LABELS[explanation["target"]]
        gained = explanation["value"] - explanation["base_value"]
        assert sum(explanation["attributions"]) == pytest.approx(gained, abs=1e-4)


def test_columns_are_explained_as_rows_are(app):
    by_row = json.loads(ask(app, V1, {"instances": X}).body)
    by_column = json.loads(ask(app, V1, {"inputs": X}).body)

    assert by_row == by_column


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"method": "magic"}, "method: expected one of occlusion, shap, integrated_gradients, got 'magic'"),
        ({"windows": 2}, "'windows': expected one of method, output, target"),
        ({"window": 0}, "window: expected a whole number from 1 to"),
        ({"samples": True}, "samples: expected a whole number"),
        ({"steps": 1.5}, "steps: expected a whole number"),
        ({"seed": -1}, "seed: expected a whole number"),
        ({"baseline": "zero"}, "baseline: expected a number"),
        ({"baseline": 1e39}, "baseline: expected a number"),
        ({"output": 1}, "output: expected the name of an output"),
        ({"target": "dog"}, "target: expected a class from 0 to 2, or one of ant, bee, cat, got 'dog'"),
    ],
)
@pytest.mark.parametrize("route", [V1, V2], ids=["V1", "V2"])
def test_parameters_that_make_no_sense_are_refused_by_name(app, route, parameters, message):
    body = {"instances": X} if route == V1 else V2_BODY

    response = ask(app, route, {**body, "parameters": parameters})

    assert response.status == 400
    assert message in error_of(response)


@pytest.mark.parametrize("parameters", [[], "x", 3, None])
@pytest.mark.parametrize("route", [V1, V2], ids=["V1", "V2"])
def test_parameters_are_an_object(app, route, parameters):
    body = {"instances": X} if route == V1 else V2_BODY

    assert ask(app, route, {**body, "parameters": parameters}).status == 400


def test_too_much_work_is_a_413_that_names_the_setting(store):
    publish_explained(store, "linear", linear())
    app = make_app(store, TENSORLET_MAX_EXPLAIN_EVALUATIONS="100")

    response = ask(app, V2, {**V2_BODY, "parameters": {"steps": 500}})

    assert response.status == 413
    assert "TENSORLET_MAX_EXPLAIN_EVALUATIONS" in error_of(response)


def test_a_tampered_gradient_graph_is_refused_and_predictions_go_on(app, store):
    store.put("linear/1/explain.onnx", b"something else")

    response = ask(app, V2, V2_BODY)

    assert response.status == 503 and "expected sha256" in error_of(response)
    assert ask(app, "POST /v2/models/linear/infer", V2_BODY).status == 200


def test_integers_are_explained_with_a_baseline_they_can_hold(models):
    app = make_app(models)
    body = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [3, 4]}]}

    assert ask(app, "POST /v2/models/numbers/explain", body).status == 200
