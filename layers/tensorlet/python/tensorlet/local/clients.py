"""The smallest clients of the server's protocols, for the demo: one kept connection, NumPy arrays in and out.

Sources: Open Inference Protocol, inference_rest.md; Triton, extension_binary_data.md; TensorFlow Serving, api_rest.md.
"""

import json
from http.client import HTTPConnection
from typing import Any

import numpy as np

from tensorlet.errors import TensorletError

Array = Any  # np.ndarray of float32, (rows, columns)


class ServerRefused(TensorletError):
    """The server answered with an error."""


class Client:
    """Asks for one model's predictions of `images` (N, pixels), in each of the three ways."""

    def __init__(self, url: str, model: str, input: str, output: str):
        self._connection = HTTPConnection(url.removeprefix("http://"), timeout=60)
        self._model = model
        self._input = input
        self._output = output

    def tensorflow_serving(self, images: Array) -> Array:
        reply, _ = self._post(
            f"/v1/models/{self._model}:predict", json.dumps({"instances": images.tolist()}).encode()
        )
        return np.array(json.loads(reply)["predictions"], np.float32)

    def v2_json(self, images: Array) -> Array:
        tensor = {**self._tensor(images), "data": images.ravel().tolist()}
        reply, _ = self._post(f"/v2/models/{self._model}/infer", json.dumps({"inputs": [tensor]}).encode())
        [output] = json.loads(reply)["outputs"]
        return np.array(output["data"], np.float32).reshape(output["shape"])

    def v2_binary(self, images: Array) -> Array:
        tensor = {**self._tensor(images), "parameters": {"binary_data_size": images.nbytes}}
        document = {
            "inputs": [tensor],
            "outputs": [{"name": self._output, "parameters": {"binary_data": True}}],
        }
        head = json.dumps(document).encode()
        headers = {"Inference-Header-Content-Length": str(len(head))}
        reply, length = self._post(f"/v2/models/{self._model}/infer", head + images.tobytes(), headers)
        [output] = json.loads(reply[:length])["outputs"]
        return np.frombuffer(reply[length:], np.float32).reshape(output["shape"])

    def close(self) -> None:
        self._connection.close()

    def _tensor(self, images: Array) -> dict[str, Any]:
        return {"name": self._input, "datatype": "FP32", "shape": list(images.shape)}

    def _post(self, path: str, body: bytes, headers: dict[str, str] | None = None) -> tuple[bytes, int]:
        """The reply's body, and the length of the JSON at its start. Raises ServerRefused."""
        self._connection.request("POST", path, body, headers or {})
        reply = self._connection.getresponse()
        content = reply.read()
        if reply.status != 200:
            raise ServerRefused(f"{path}: {reply.status} {content[:200].decode(errors='replace')}")
        return content, int(reply.headers.get("Inference-Header-Content-Length", len(content)))
