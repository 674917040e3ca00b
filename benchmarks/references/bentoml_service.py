"""BentoML, one worker: `bentoml serve bentoml_service:Mlp`."""

import bentoml
import mlp
import numpy as np


@bentoml.service(workers=1)
class Mlp:
    def __init__(self) -> None:
        self.session = mlp.load()

    @bentoml.api
    def predict(self, instances: np.ndarray) -> np.ndarray:
        return mlp.predict(self.session, instances.astype(np.float32))
