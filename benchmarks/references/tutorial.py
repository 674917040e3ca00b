"""What tutorials show: powertools' resolver, logger, tracer and metrics, a boto3 client, onnxruntime or LiteRT."""

import os
from typing import Any

import boto3
import numpy as np
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver
from aws_lambda_powertools.metrics import MetricUnit

if os.environ.get("ENGINE") == "litert":
    from ai_edge_litert.interpreter import Interpreter
else:
    import onnxruntime

logger, tracer, metrics = Logger(), Tracer(), Metrics()
app = APIGatewayHttpResolver()
s3 = boto3.client("s3")
loaded: dict[str, Any] = {}


def fetch(key: str) -> bytes:
    return s3.get_object(Bucket="models", Key=key)["Body"].read()


def run_onnx(model: str, x: np.ndarray) -> np.ndarray:
    if model not in loaded:
        loaded[model] = onnxruntime.InferenceSession(fetch(f"{model}.onnx"))
        logger.info("model loaded", extra={"model": model})
    return loaded[model].run(None, {"input": x})[0]


def run_litert(model: str, x: np.ndarray) -> np.ndarray:
    if model not in loaded:
        loaded[model] = Interpreter(model_content=fetch(f"{model}.tflite")).get_signature_runner()
        logger.info("model loaded", extra={"model": model})
    return loaded[model](input=x)["output"]


run = run_litert if os.environ.get("ENGINE") == "litert" else run_onnx


@app.post("/v2/models/<model>/infer")
@tracer.capture_method
def infer(model: str) -> dict[str, Any]:
    tensor = app.current_event.json_body["inputs"][0]
    y = run(model, np.array(tensor["data"], dtype=np.float32).reshape(tensor["shape"]))
    metrics.add_metric(name="predictions", unit=MetricUnit.Count, value=1)
    output = {"name": "output", "datatype": "FP32", "shape": list(y.shape), "data": y.ravel().tolist()}
    return {"model_name": model, "outputs": [output]}


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    return app.resolve(event, context)
