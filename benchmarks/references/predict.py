"""What the two bare servers do with a request: orjson, no validation."""

import mlp
import numpy as np
import orjson

run = mlp.load()._sess.run

JSON, BINARY = b"application/json", b"application/octet-stream"


def predict(body: memoryview, head_bytes: int | None) -> tuple[bytes, int | None, bytes]:
    """Content type, length of the JSON part of a binary reply, body."""
    request = orjson.loads(body[:head_bytes])
    tensor = request["inputs"][0]
    data = np.frombuffer(body, np.float32, offset=head_bytes) if head_bytes else tensor["data"]
    x = np.asarray(data, np.float32).reshape(tensor["shape"])
    y = run(["output"], {"input": x}, None)[0]
    output = {"name": "output", "datatype": "FP32", "shape": y.shape}
    if not head_bytes:
        output["data"] = y.ravel()
        document = {"model_name": "mlp", "outputs": [output]}
        return JSON, None, orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    output["parameters"] = {"binary_data_size": y.nbytes}
    head = orjson.dumps({"outputs": [output]})
    return BINARY, len(head), head + y.tobytes()
