"""The architectures in PyTorch, saved in every form: `python -m tests.matrix.torch_models FOLDER [ARCHITECTURE]...`

Each goes to FOLDER/ARCHITECTURE: model.pth, model.safetensors, model.pt (TorchScript) and model.pt2 (torch.export).
"""

import sys
from pathlib import Path

import torch
from torch import nn
from torch.export import Dim

from tests.matrix.torch_inputs import INPUTS

CLASSES = 3


class Recurrent(nn.Module):
    """Floats (B, T, 4), or with `vocabulary` whole numbers (B, T), to (B, 3): the last step's classes."""

    def __init__(self, kind, vocabulary=0, layers=1, bidirectional=False, all_steps=False):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, 4) if vocabulary else nn.Identity()
        self.recurrent = kind(4, 8, layers, batch_first=True, bidirectional=bidirectional)
        self.head = nn.Linear(16 if bidirectional else 8, CLASSES)
        self.all_steps = all_steps

    def forward(self, x):
        steps, _ = self.recurrent(self.embedding(x))
        return self.head(steps if self.all_steps else steps[:, -1])


class TwoInTwoOut(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(4, CLASSES), nn.Linear(2, CLASSES)

    def forward(self, x, y):
        total = self.left(x) + self.right(y)
        return total, total.softmax(-1)


def mlp():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, CLASSES))


def cnn():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(36, CLASSES),
    )


def lstm():
    return Recurrent(nn.LSTM)


def gru():
    return Recurrent(nn.GRU)


def bidirectional():
    return Recurrent(nn.LSTM, layers=2, bidirectional=True)


def two_in_two_out():
    return TwoInTwoOut()


def embedding():
    return Recurrent(nn.GRU, vocabulary=8)


def any_length():
    return Recurrent(nn.LSTM, all_steps=True)


def save(name, folder):
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    model = globals()[name]().eval()
    inputs = [example(text) for text in INPUTS[name]]
    examples = tuple(tensor for tensor, _ in inputs)
    torch.save(model.state_dict(), folder / "model.pth")
    save_file(model.state_dict(), folder / "model.safetensors")
    torch.jit.trace(model, examples).save(folder / "model.pt")
    program = torch.export.export(model, examples, dynamic_shapes=[axes for _, axes in inputs])
    torch.export.save(program, folder / "model.pt2")


def example(text):
    """Zeros of an input's datatype and shape, and its dynamic axes."""
    _, datatype, shape = text.split(":")
    dims = [int(dim) for dim in shape.split(",")]
    dtype = torch.int64 if datatype == "INT64" else torch.float32
    # AUTO: recurrent layers fix the length when they are exported.
    axes = {axis: Dim.AUTO for axis, dim in enumerate(dims) if dim < 0}
    return torch.zeros([2 + axis if dim < 0 else dim for axis, dim in enumerate(dims)], dtype=dtype), axes


if __name__ == "__main__":
    target, *names = sys.argv[1:]
    for name in names or INPUTS:
        save(name, Path(target) / name)
