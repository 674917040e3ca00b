"""Triton's own HTTP front end with the model in its Python back end (PyTriton): `python triton_server.py PORT`."""

import sys

import mlp
import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

session = mlp.load()


@batch
def infer(input: np.ndarray) -> list[np.ndarray]:
    return [mlp.predict(session, input)]


config = TritonConfig(
    http_port=int(sys.argv[1]), http_address="127.0.0.1", allow_grpc=False, allow_metrics=False
)
with Triton(config=config) as triton:
    triton.bind(
        "mlp",
        infer,
        inputs=[Tensor(name="input", dtype=np.float32, shape=(784,))],
        outputs=[Tensor(name="output", dtype=np.float32, shape=(10,))],
        config=ModelConfig(max_batch_size=1024, batcher=DynamicBatcher(max_queue_delay_microseconds=0)),
    )
    triton.serve()
