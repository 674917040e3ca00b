"""The model of a Python server: onnxruntime with one thread, from disk."""

import os

import numpy as np
import onnxruntime


def load() -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    path = f"{os.environ['MODELS']}/mlp.onnx"
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def predict(session: onnxruntime.InferenceSession, x: np.ndarray) -> np.ndarray:
    return session.run(["output"], {"input": x})[0]
