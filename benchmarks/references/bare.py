"""The least a Python handler can do: fast parsers, no routing, no validation, one float input. Not product code."""

from typing import Any

import mlp
import numpy as np
import orjson
import pybase64
import simdjson

run = mlp.load()._sess.run
parser = simdjson.Parser()


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    head_bytes = event["headers"].get("inference-header-content-length")
    if head_bytes:
        return binary(pybase64.b64decode_as_bytearray(event["body"], validate=True), int(head_bytes))
    document = parser.parse(event["body"].encode())
    tensor = document.at_pointer("/inputs/0")
    x = np.frombuffer(tensor["data"].as_buffer(of_type="d")).astype(np.float32)
    x = x.reshape(tensor["shape"].as_list())
    del tensor, document
    y = run(["output"], {"input": x}, None)[0]
    output = {"name": "output", "datatype": "FP32", "shape": y.shape, "data": y.ravel()}
    body = orjson.dumps({"model_name": "mlp", "outputs": [output]}, option=orjson.OPT_SERIALIZE_NUMPY)
    return {"statusCode": 200, "headers": {"content-type": "application/json"}, "body": body.decode()}


def binary(body: bytearray, head_bytes: int) -> dict[str, Any]:
    tensor = orjson.loads(memoryview(body)[:head_bytes])["inputs"][0]
    x = np.frombuffer(body, np.float32, offset=head_bytes).reshape(tensor["shape"])
    y = run(["output"], {"input": x}, None)[0].tobytes()
    output = {"name": "output", "datatype": "FP32", "shape": [len(x), 10]}
    head = orjson.dumps({"outputs": [output | {"parameters": {"binary_data_size": len(y)}}]})
    headers = {
        "content-type": "application/octet-stream",
        "inference-header-content-length": str(len(head)),
    }
    body64 = pybase64.b64encode_as_string(head + y)
    return {"statusCode": 200, "headers": headers, "body": body64, "isBase64Encoded": True}
