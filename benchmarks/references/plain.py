"""No framework at all: boto3, onnxruntime and the standard library's JSON."""

import json
from typing import Any

import boto3
import numpy as np
import onnxruntime

s3 = boto3.client("s3")
loaded: dict[str, onnxruntime.InferenceSession] = {}


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    model = event["rawPath"].split("/")[3]
    if model not in loaded:
        body = s3.get_object(Bucket="models", Key=f"{model}.onnx")["Body"].read()
        loaded[model] = onnxruntime.InferenceSession(body)
    tensor = json.loads(event["body"])["inputs"][0]
    x = np.array(tensor["data"], dtype=np.float32).reshape(tensor["shape"])
    y = loaded[model].run(None, {"input": x})[0]
    output = {"name": "output", "datatype": "FP32", "shape": list(y.shape), "data": y.ravel().tolist()}
    body = json.dumps({"model_name": model, "outputs": [output]})
    return {"statusCode": 200, "headers": {"content-type": "application/json"}, "body": body}
