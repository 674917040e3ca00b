"""onnxruntime as a custom runtime of MLServer."""

import mlp
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Onnx(MLModel):
    async def load(self) -> bool:
        self.session = mlp.load()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        y = mlp.predict(self.session, NumpyCodec.decode_input(payload.inputs[0]))
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("output", y)])
