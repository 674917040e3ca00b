"""The three classifiers in PyTorch. Each factory gives a `Classifier` for images of any size.

`tensorlet publish weights.pth --module "training.torch_models:cnn(classes=26)"` finds them by name.
"""

import torch
from torch import Tensor, nn


class Classifier(nn.Module):
    """image -> probabilities. Training needs the `logits`, whose logarithm of a softmax is exact."""

    def __init__(self, logits: nn.Module) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, image: Tensor) -> Tensor:
        return torch.softmax(self.logits(image), dim=-1)  # (B, classes)


def mlp(height: int = 28, width: int = 28, classes: int = 10) -> Classifier:
    """(B, height * width) -> (B, classes); 101,770 parameters."""
    return Classifier(nn.Sequential(nn.Linear(height * width, 128), nn.ReLU(), nn.Linear(128, classes)))


def cnn(height: int = 28, width: int = 28, classes: int = 10) -> Classifier:
    """(B, height, width, 1) -> (B, classes); 220,234 parameters."""
    return Classifier(
        nn.Sequential(
            ChannelsFirst(),  # (B, 1, H, W)
            nn.Conv2d(1, 32, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),  # (B, 32, H/2, W/2)
            nn.Conv2d(32, 64, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),  # (B, 64, H/4, W/4)
            nn.Flatten(),
            nn.Linear(64 * (height // 4) * (width // 4), 64),
            nn.ReLU(),
            nn.Dropout(0.25),
            nn.Linear(64, classes),
        )
    )


def lstm(height: int = 28, width: int = 28, classes: int = 10) -> Classifier:
    """(B, steps = height, features = width) -> (B, classes); 24,714 parameters."""
    return Classifier(nn.Sequential(LastStep(width, 64), nn.Linear(64, classes)))


class ChannelsFirst(nn.Module):
    """(B, H, W, C), as clients and TensorFlow have images, to PyTorch's (B, C, H, W)."""

    def forward(self, image: Tensor) -> Tensor:
        return image.permute(0, 3, 1, 2)


class LastStep(nn.Module):
    """An LSTM's hidden state after the last step: (B, steps, features) -> (B, hidden)."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.recurrent = nn.LSTM(features, hidden, batch_first=True)

    def forward(self, sequence: Tensor) -> Tensor:
        hidden, _ = self.recurrent(sequence)  # (B, steps, hidden)
        return hidden[:, -1]  # (B, hidden)
