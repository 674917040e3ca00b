"""LitServe, one worker: `python litserve_server.py PORT`."""

import sys
from typing import Any

import litserve
import mlp
import numpy as np


class Mlp(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.session = mlp.load()

    def decode_request(self, request: dict[str, Any]) -> np.ndarray:
        return np.array(request["instances"], np.float32)

    def predict(self, x: np.ndarray) -> np.ndarray:
        return mlp.predict(self.session, x)

    def encode_response(self, output: np.ndarray) -> dict[str, Any]:
        return {"predictions": output.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(Mlp(), accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        num_api_servers=1,
        log_level="warning",
        generate_client_file=False,
    )
