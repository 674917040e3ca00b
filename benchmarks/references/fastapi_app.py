"""FastAPI with pydantic models: on uvicorn as a server, behind Mangum as a function.

The endpoint is a coroutine: for a model this fast, a thread for each request would only cost.
"""

import os
from typing import Any

import numpy as np
import onnxruntime
from fastapi import FastAPI
from pydantic import BaseModel

sessions: dict[str, onnxruntime.InferenceSession] = {}


class Tensor(BaseModel):
    name: str
    shape: list[int]
    datatype: str
    data: list[Any]


class Request(BaseModel):
    id: str | None = None
    inputs: list[Tensor]


class Response(BaseModel):
    model_name: str
    id: str | None = None
    outputs: list[Tensor]


app = FastAPI()


def load(model: str) -> onnxruntime.InferenceSession:
    if "MODELS" in os.environ:  # a server has its model on disk
        import mlp

        return mlp.load()
    import boto3

    body = boto3.client("s3").get_object(Bucket="models", Key=f"{model}.onnx")["Body"]
    return onnxruntime.InferenceSession(body.read())


@app.post("/v2/models/{model}/infer")
async def infer(model: str, request: Request) -> Response:
    if model not in sessions:
        sessions[model] = load(model)
    feeds = {t.name: np.array(t.data, dtype=np.float32).reshape(t.shape) for t in request.inputs}
    y = sessions[model].run(None, feeds)[0]
    output = Tensor(name="output", datatype="FP32", shape=list(y.shape), data=y.ravel().tolist())
    return Response(model_name=model, id=request.id, outputs=[output])
