"""Requests: as bytes for a server, as API Gateway events (payload format 2.0) for a function."""

import base64
import json
from typing import Any, NamedTuple

import numpy as np

from benchmarks.models import images


class Payload(NamedTuple):
    body: bytes
    headers: dict[str, str]


def v2_json(rows: int, model: str = "mlp") -> Payload:
    """Floats in their shortest text, as a careful client sends them: 8.4 kB for a row of 784."""
    values = images(rows, model)
    text = ",".join(map(str, values.ravel()))
    head = json.dumps({"name": "input", "shape": values.shape, "datatype": "FP32"})[:-1]
    return Payload(f'{{"inputs":[{head},"data":[{text}]}}]}}'.encode(), {"content-type": "application/json"})


def v2_binary(rows: int, model: str = "mlp") -> Payload:
    """The binary tensor extension in both directions: 4 bytes for each value."""
    values = images(rows, model)
    tensor = {
        "name": "input",
        "shape": values.shape,
        "datatype": "FP32",
        "parameters": {"binary_data_size": values.nbytes},
    }
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    headers = {
        "content-type": "application/octet-stream",
        "inference-header-content-length": str(len(head)),
    }
    return Payload(head + values.tobytes(), headers)


def instances_json(rows: int, model: str = "mlp") -> Payload:
    """What BentoML and LitServe take with the code of their documentation: rows as lists."""
    text = "],[".join(",".join(map(str, row)) for row in images(rows, model))
    return Payload(f'{{"instances":[[{text}]]}}'.encode(), {"content-type": "application/json"})


def event(payload: Payload, model: str = "mlp") -> dict[str, Any]:
    """The event that API Gateway makes of a request; a body that is not text goes as base64."""
    path = f"/v2/models/{model}/infer"
    binary = payload.headers["content-type"] != "application/json"
    domain = "example.execute-api.eu-central-1.amazonaws.com"
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {**payload.headers, "host": domain, "accept": "*/*", "user-agent": "benchmark"},
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "example",
            "domainName": domain,
            "http": {"method": "POST", "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1"},
            "requestId": "JKJaXmPLvHcESHA=",
            "routeKey": "$default",
            "stage": "$default",
            "timeEpoch": 1583348638390,
        },
        "body": base64.b64encode(payload.body).decode() if binary else payload.body.decode(),
        "isBase64Encoded": binary,
    }


def values(body: bytes, head_bytes: str | None) -> np.ndarray:
    """The single output of a reply, flat: V2's, rows as `predictions`, or rows alone."""
    if head_bytes:
        return np.frombuffer(body, np.float32, offset=int(head_bytes))
    document = json.loads(body)
    if isinstance(document, dict):
        document = document["outputs"][0]["data"] if "outputs" in document else document["predictions"]
    return np.array(document, np.float32).ravel()
