"""A published model as teacher: its answers, softened, are what another model learns beside the labels.

Source: Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network" (2015).
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from tensorlet.cli.arguments import ModelReference
from tensorlet.errors import InvalidSetting
from tensorlet.serving.service import LoadedModel, ModelService
from tensorlet.settings import Settings
from tensorlet.tensors import Tensor

from training.data import Images

TEMPERATURE = 4.0  # softens the teacher's answers, so that the small ones among them tell something too
WEIGHT = 0.7  # of the teacher in the loss; the rest is the labels'
CHUNK = 512  # images the teacher answers at once

Probabilities = npt.NDArray[np.float32]  # (N, classes)


class Teacher(NamedTuple):
    """A served classifier of one image input, whatever it was trained with."""

    model: LoadedModel
    input: str
    shape: tuple[int, ...]  # of a row
    output: str

    def soft_answers(self, images: Images) -> Probabilities:
        """(N, height, width) -> (N, classes): softmax(log p / TEMPERATURE)."""
        rows = np.ascontiguousarray(images.reshape(-1, *self.shape))
        answers = [
            self.model.infer({self.input: Tensor.from_numpy(rows[start : start + CHUNK])})[
                self.output
            ].numpy()
            for start in range(0, len(rows), CHUNK)
        ]
        return soften(np.concatenate(answers))


def soften(probabilities: Probabilities) -> Probabilities:
    """p^(1 / TEMPERATURE), as probabilities: logits are the logarithms of probabilities, but for a constant."""
    powers = np.maximum(probabilities, 1e-12) ** (1 / TEMPERATURE)
    softened: Probabilities = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
    return softened


def load_teacher(
    reference: ModelReference, registry: str, image_shape: tuple[int, int], classes: int
) -> Teacher:
    """The model that `--distill-from` names.

    Raises:
        InvalidSetting: it does not classify such images.
        ModelNotFound, VersionNotFound, AliasNotFound: there is no such model.
    """
    service = ModelService.from_settings(Settings.from_environ({"TENSORLET_REGISTRY": registry}))
    model = service.model(reference.name, reference.selector)
    inputs, outputs = model.signature.inputs, model.signature.outputs
    pixels = image_shape[0] * image_shape[1]
    fitting = len(inputs) == 1 and np.prod(inputs[0].shape[1:]) == pixels and model.batched
    if not fitting or outputs[0].shape != (-1, classes):
        raise InvalidSetting(
            f"--distill-from {reference}: expected one input of {pixels} pixels and {classes} probabilities, got"
            f" {', '.join(f'{s.name} {list(s.shape)}' for s in (*inputs, *outputs))}"
        )
    return Teacher(model, inputs[0].name, inputs[0].shape[1:], outputs[0].name)
