"""What single arguments mean."""

import pytest
from tensorlet.cli.arguments import parse, parse_model_reference, parse_tensor_spec
from tensorlet.errors import InvalidRequest
from tensorlet.signature import TensorSpec


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("image:FP32:-1,784", TensorSpec("image", "FP32", (-1, 784))),
        ("image:FP32:-1x28x28", TensorSpec("image", "FP32", (-1, 28, 28))),
        ("image:fp32:[-1, 784]", TensorSpec("image", "FP32", (-1, 784))),
        ("tokens:INT64:-1,-1", TensorSpec("tokens", "INT64", (-1, -1))),
        ("serving_default_x:0:FP32:4", TensorSpec("serving_default_x:0", "FP32", (4,))),
        ("scale:FP64:", TensorSpec("scale", "FP64", ())),
    ],
)
def test_a_tensor_is_name_datatype_and_shape(text, spec):
    assert parse_tensor_spec(text) == spec


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("image", "NAME:DATATYPE:SHAPE"),
        ("image:FP32", "NAME:DATATYPE:SHAPE"),
        (":FP32:1", "NAME:DATATYPE:SHAPE"),
        ("image:FLOAT32:1", "datatype of 'image'"),
        ("image:FP32:any", "shape of 'image'"),
        ("image:FP32:-2", "shape of 'image'"),
        ("image:FP32:1,,2", "shape of 'image'"),
        ("image:FP32:1.5", "shape of 'image'"),
    ],
)
def test_a_wrong_tensor_is_refused_naming_the_part(text, part):
    with pytest.raises(InvalidRequest, match=part):
        parse_tensor_spec(text)


def test_a_model_is_a_name_with_a_version_or_alias():
    assert parse_model_reference("digits") == ("digits", None)
    assert parse_model_reference("digits@7") == ("digits", "7")
    assert str(parse_model_reference("digits@live")) == "digits@live"


def test_repeatable_flags_collect():
    arguments = parse(
        [
            "publish",
            "m.pt",
            "--name",
            "m",
            "--alias",
            "a",
            "--alias",
            "b",
            "--input",
            "x:FP32:1",
            "--input",
            "y:BOOL:",
        ]
    )

    assert arguments.alias == ["a", "b"]
    assert arguments.inputs == [TensorSpec("x", "FP32", (1,)), TensorSpec("y", "BOOL", ())]
    assert not arguments.trust_source


def test_the_server_listens_on_loopback_unless_told_otherwise():
    arguments = parse(["serve"])

    assert (arguments.host, arguments.port, arguments.workers) == ("127.0.0.1", 8080, 1)
