"""Existing V2 clients work by changing the URL: Triton's own, sync and asyncio, against a real server."""

import asyncio
import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tensorlet.registry.store import Store
from tensorlet.tensors import DATATYPES
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

from tests import models
from tests.conformance.models import CLASSES, publish_all
from tests.servers import serve_in_thread

DATA = Path(__file__).parent / "data"
ODD_NAMES = ["image/pixels", "x:0", "layer.1/out:0", "ünïcode", "a b", "%41", "{x}"]
TFLITE = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint32", "float16", "float32", "float64"]


def publish_models(store: Store) -> None:
    publish_all(store)
    models.publish_onnx(store, "odd_names", models.identity({n: ("FP32", ["batch", 2]) for n in ODD_NAMES}))
    models.publish_onnx(store, "dotted.name-1_2", models.half_plus_two())
    for name in ("datatypes", "strings", "odd_names"):
        models.publish(store, f"tflite_{name}", "tflite", (DATA / f"{name}.tflite").read_bytes())


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """HOST:PORT, as the client takes it."""
    with serve_in_thread(publish_models, tmp_path_factory.mktemp("registry")) as url:
        yield url.removeprefix("http://")


@pytest.fixture(scope="module")
def client(address):
    with triton.InferenceServerClient(address) as client:
        yield client


def values(datatype: str, shape: tuple[int, ...] = (3, 2)) -> np.ndarray:
    """Different values, the extremes of the datatype among them."""
    count = int(np.prod(shape))
    if datatype == "BYTES":
        return np.array([b"", b"\xff\x00", b"plain", "é".encode(), b"x" * 300, b"0"][:count], object).reshape(
            shape
        )
    dtype = np.dtype(triton_to_np_dtype(datatype))
    if datatype == "BOOL":
        return (np.arange(count) % 2 == 0).reshape(shape)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return np.array([limits.min, limits.max, 0, 1, 2, 3][:count], dtype).reshape(shape)
    return np.array([0.5, -2.0, np.inf, np.nan, 0.0, -0.0][:count]).astype(dtype).reshape(shape)


def tensor(name: str, array: np.ndarray, datatype: str, binary: bool = True) -> triton.InferInput:
    made = triton.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array, binary_data=binary)
    return made


def text_only(array: np.ndarray) -> np.ndarray:
    """JSON carries only UTF-8, and ONNX strings too."""
    return np.array([b"text"] * array.size, object).reshape(array.shape) if array.dtype == object else array


@pytest.mark.parametrize(
    ("datatype", "binary_in", "binary_out"),
    [
        pytest.param(datatype, binary_in, binary_out, id=f"{datatype} binary in {binary_in} out {binary_out}")
        for datatype in DATATYPES
        for binary_in in (True, False)
        for binary_out in (True, False)
        if datatype not in ("FP16", "BF16") or (binary_in and binary_out)  # never JSON in this protocol
    ],
)
def test_every_datatype_passes_unchanged(client, datatype, binary_in, binary_out):
    array = text_only(values(datatype))
    if not binary_in and array.dtype.kind == "f":
        array = np.nan_to_num(array)  # the client's own JSON encoder knows no NaN

    result = client.infer(
        f"identity_{datatype.lower()}",
        [tensor("x", array, datatype, binary_in)],
        outputs=[triton.InferRequestedOutput("x_out", binary_data=binary_out)],
    )

    found = result.as_numpy("x_out")
    assert found.shape == array.shape
    if datatype == "BYTES":
        assert [v if isinstance(v, bytes) else v.encode() for v in found.ravel()] == array.ravel().tolist()
    elif binary_out:
        assert found.tobytes() == array.tobytes()
    else:
        np.testing.assert_array_equal(found, array)


def test_every_datatype_of_tflite_passes_in_one_request(client):
    arrays = {key: values(dtype_of(key)) for key in TFLITE}

    result = client.infer(
        "tflite_datatypes", [tensor(f"x_{key}", array, dtype_of(key)) for key, array in arrays.items()]
    )

    for key, array in arrays.items():
        np.testing.assert_array_equal(result.as_numpy(f"y_{key}"), array[:, :, None])


def dtype_of(key: str) -> str:
    return next(d.name for d in DATATYPES.values() if d.numpy == key)


def test_strings_of_tflite_are_any_bytes(client):
    array = values("BYTES")

    found = client.infer("tflite_strings", [tensor("x_string", array, "BYTES")]).as_numpy("y_string")

    assert found.ravel().tolist() == array.ravel().tolist()


def test_names_may_hold_what_frameworks_put_into_them(client):
    arrays = {name: np.full((1, 2), index, np.float32) for index, name in enumerate(ODD_NAMES)}

    result = client.infer("odd_names", [tensor(name, array, "FP32") for name, array in arrays.items()])
    tflite = client.infer(
        "tflite_odd_names", [tensor("image/pixels:0.raw", np.ones((1, 3), np.float32), "FP32")]
    )

    for name, array in arrays.items():
        np.testing.assert_array_equal(result.as_numpy(f"{name}_out"), array)
    assert tflite.as_numpy("StatefulPartitionedCall/scores:0.out").tolist() == [[2.0, 2.0, 2.0]]


def test_a_model_name_may_have_dots_and_dashes(client):
    assert client.is_model_ready("dotted.name-1_2")
    assert (
        client.infer("dotted.name-1_2", [tensor("x", np.ones(1, np.float32), "FP32")], "1").as_numpy("y")
        == 2.5
    )


def test_the_same_numbers_as_onnxruntime(client):
    import onnxruntime

    array = np.random.default_rng(0).standard_normal(7).astype(np.float32)
    session = onnxruntime.InferenceSession(models.half_plus_two())

    found = client.infer("half_plus_two", [tensor("x", array, "FP32")]).as_numpy("y")

    np.testing.assert_array_equal(found, session.run(None, {"x": array})[0])


@pytest.mark.parametrize("rows", [0, 1, 5])
def test_dynamic_dimensions(client, rows):
    array = np.zeros((rows, 2, 3), np.float32)

    assert client.infer("variable", [tensor("x", array, "FP32")]).as_numpy("x_out").shape == (rows, 2, 3)


@pytest.mark.parametrize("reply", [None, "gzip", "deflate"])
@pytest.mark.parametrize("request_coding", [None, "gzip", "deflate"])
def test_compression_both_ways(client, request_coding, reply):
    array = np.arange(2000, dtype=np.float32).reshape(1000, 2)

    result = client.infer(
        "numbers",
        [tensor("x", array, "FP32")],
        request_compression_algorithm=request_coding,
        response_compression_algorithm=reply,
    )

    np.testing.assert_array_equal(result.as_numpy("x_out"), array)


def test_classification(client):
    wanted = triton.InferRequestedOutput("scores_out", class_count=2)

    result = client.infer(
        "animals", [tensor("scores", np.array([[1, 3, 2]], np.float32), "FP32")], outputs=[wanted]
    )

    assert [v.decode() for v in result.as_numpy("scores_out")[0]] == [
        f"3.000000:1:{CLASSES[1]}",
        f"2.000000:2:{CLASSES[2]}",
    ]


def test_id_headers_and_query_parameters(client):
    result = client.infer(
        "half_plus_two",
        [tensor("x", np.ones(1, np.float32), "FP32")],
        request_id="my id",
        headers={"x-request-id": "abc"},
        query_params={"trace": "1"},
        priority=1,
        timeout=1000,
        parameters={"custom": "x"},
    )

    assert result.get_response()["id"] == "my id"


def test_a_base_path_in_the_address_is_kept(address):
    """An API Gateway stage is a path prefix; here the server has none, so the path is unknown."""
    with triton.InferenceServerClient(f"{address}/prod") as client:
        assert not client.is_server_live()


def test_health_and_metadata(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("half_plus_two", "1")
    assert client.is_model_ready("half_plus_two", "stable")
    assert not client.is_model_ready("unheard_of")
    assert client.get_server_metadata()["name"] == "tensorlet"
    assert client.get_model_metadata("simple")["inputs"][1]["name"] == "INPUT1"
    assert client.get_model_config("simple")["output"][0]["data_type"] == "TYPE_INT32"


def test_the_repository_and_its_hints(client):
    client.load_model("half_plus_three")
    client.unload_model("half_plus_three")
    client.load_model("half_plus_three")

    names = {(entry["name"], entry["state"]) for entry in client.get_model_repository_index()}
    assert ("half_plus_three", "READY") in names


def test_a_loaded_model_cannot_be_overridden(client):
    with pytest.raises(InferenceServerException, match="cannot be overridden"):
        client.load_model("half_plus_two", config="{}", files={"file:1/model.onnx": b"other"})


def test_statistics_count_batch_elements_and_executions(client):
    before = statistics(client)
    client.infer("half_plus_two", [tensor("x", np.ones(5, np.float32), "FP32")])
    with pytest.raises(InferenceServerException):
        client.infer("half_plus_two", [tensor("x", np.ones((5, 1), np.float32), "FP32")])
    after = statistics(client)

    assert after["inference_count"] - before["inference_count"] == 5
    assert after["execution_count"] - before["execution_count"] == 1
    assert after["inference_stats"]["success"]["count"] - before["inference_stats"]["success"]["count"] == 1
    assert after["inference_stats"]["fail"]["count"] - before["inference_stats"]["fail"]["count"] == 1
    assert after["last_inference"] >= before["last_inference"]
    assert {"batch_size", "compute_input", "compute_infer", "compute_output"} == set(after["batch_stats"][0])
    assert after["memory_usage"][0]["byte_size"] > 0


def statistics(client):
    return client.get_inference_statistics("half_plus_two")["model_stats"][0]


def test_what_is_not_supported_says_so(client):
    for call in (client.get_trace_settings, client.get_log_settings, client.get_system_shared_memory_status):
        with pytest.raises(InferenceServerException, match="not supported"):
            call()


@pytest.mark.parametrize(
    ("array", "datatype", "message"),
    [
        (np.ones(2, np.int32), "INT32", "expects 'FP32'"),
        (np.ones((1, 2), np.float32), "FP32", "unexpected shape"),
    ],
)
def test_errors_reach_the_caller_as_text(client, array, datatype, message):
    with pytest.raises(InferenceServerException, match=message) as failure:
        client.infer("half_plus_two", [tensor("x", array, datatype)])
    assert failure.value.status() == "400"


def test_generated_bodies_can_be_sent_and_parsed_by_others(client, address):
    """The static helpers which cloud examples use build the same bytes."""
    from http.client import HTTPConnection

    body, size = triton.InferenceServerClient.generate_request_body(
        [tensor("x", np.ones(2, np.float32), "FP32")]
    )
    connection = HTTPConnection(address)
    headers = {"Inference-Header-Content-Length": str(size), "Content-Encoding": "gzip"}
    connection.request("POST", "/v2/models/half_plus_two/infer", gzip.compress(body), headers)
    reply = connection.getresponse()
    content = reply.read()
    connection.close()

    result = triton.InferenceServerClient.parse_response_body(
        content, header_length=int(reply.headers["Inference-Header-Content-Length"])
    )

    assert result.as_numpy("y").tolist() == [2.5, 2.5]


def test_the_asyncio_client(address):
    async def talk():
        async with triton_aio.InferenceServerClient(address) as client:
            assert await client.is_server_live()
            assert await client.is_model_ready("half_plus_two")
            metadata = await client.get_model_metadata("half_plus_two")
            array = np.arange(4, dtype=np.float32)
            results = await asyncio.gather(
                *(
                    client.infer(
                        "half_plus_two",
                        [tensor("x", array, "FP32", binary)],
                        request_compression_algorithm=coding,
                        response_compression_algorithm=coding,
                    )
                    for binary in (True, False)
                    for coding in (None, "gzip", "deflate")
                )
            )
            return metadata, [result.as_numpy("y").tolist() for result in results]

    metadata, answers = asyncio.run(talk())

    assert metadata["name"] == "half_plus_two"
    assert answers == [[2.0, 2.5, 3.0, 3.5]] * 6


def test_the_asyncio_client_sees_errors_as_text(address):
    async def talk():
        async with triton_aio.InferenceServerClient(address) as client:
            await client.infer("unheard_of", [tensor("x", np.ones(1, np.float32), "FP32")])

    with pytest.raises(InferenceServerException, match="unheard_of"):
        asyncio.run(talk())


def test_json_numbers_are_as_long_as_they_must_be(client):
    """A float32 in JSON is the float64 of the same value, as KServe and Triton write it."""
    result = client.infer(
        "numbers",
        [tensor("x", np.array([[0.1, 6.8]], np.float32), "FP32")],
        outputs=[triton.InferRequestedOutput("x_out", binary_data=False)],
    )

    data = result.get_response()["outputs"][0]["data"]
    assert json.dumps(data) == "[0.10000000149011612, 6.800000190734863]"
