"""What somebody who measures writes by hand: no boto3, one thread, and the model fetched beside the imports.

It knows the name of its one model beforehand, and neither versions nor digests.
"""

import os
from threading import Thread
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"

from obstore.store import S3Store

MODEL = os.environ["MODEL"]
fetched: list[Any] = []


def fetch() -> None:
    local = {"allow_http": True}  # the benchmark's storage has no TLS
    store = S3Store("models", endpoint=os.environ["AWS_ENDPOINT_URL_S3"], client_options=local)
    fetched.append(bytes(store.get(f"{MODEL}.onnx").bytes()))


thread = Thread(target=fetch)
thread.start()

import numpy as np  # noqa: E402  # while the thread is at work
import onnxruntime  # noqa: E402
import orjson  # noqa: E402

thread.join()
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(fetched.pop(), options)


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    tensor = orjson.loads(event["body"])["inputs"][0]
    x = np.array(tensor["data"], np.float32).reshape(tensor["shape"])
    y = session.run(None, {"input": x})[0]
    output = {"name": "output", "datatype": "FP32", "shape": y.shape, "data": y.ravel()}
    body = orjson.dumps({"model_name": MODEL, "outputs": [output]}, option=orjson.OPT_SERIALIZE_NUMPY)
    return {"statusCode": 200, "headers": {"content-type": "application/json"}, "body": body.decode()}
