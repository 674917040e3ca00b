"""KServe's Python server with a custom model: `python kserve_server.py PORT`."""

import sys
from typing import Any

import kserve
import mlp


class Mlp(kserve.Model):
    def __init__(self) -> None:
        super().__init__("mlp")
        self.session = mlp.load()
        self.ready = True

    def predict(self, payload: kserve.InferRequest, *_: Any, **__: Any) -> kserve.InferResponse:
        y = mlp.predict(self.session, payload.inputs[0].as_numpy())
        binary = bool(payload.use_binary_outputs)
        output = kserve.InferOutput("output", list(y.shape), "FP32")
        output.set_data_from_numpy(y, binary_data=binary)
        return kserve.InferResponse(payload.id or "1", "mlp", [output], use_binary_outputs=binary)


if __name__ == "__main__":
    server = kserve.ModelServer(
        http_port=int(sys.argv[1]), enable_grpc=False, workers=1, access_log_format=None
    )
    server.start([Mlp()])
