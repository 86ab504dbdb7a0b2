"""The models of PyTorch's quantization guides, made small."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tiny_models
import torch
from torch import Tensor, nn

import octet

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np


class ConvRelu(nn.Module):
    """The eager-mode guide's M, without its stubs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu = nn.Conv2d(1, 4, 1), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.conv(x))


class InvertedResidual(nn.Module):
    """Expand, filter channel by channel, project, and add what came in."""

    def __init__(self) -> None:
        super().__init__()
        self.expand = nn.Sequential(nn.Conv2d(3, 12, 1, bias=False), nn.BatchNorm2d(12), nn.ReLU6())
        self.filter = nn.Sequential(
            nn.Conv2d(12, 12, 3, padding=1, groups=12, bias=False), nn.BatchNorm2d(12), nn.ReLU6()
        )
        self.project = nn.Sequential(nn.Conv2d(12, 3, 1, bias=False), nn.BatchNorm2d(3))
        self.first, self.last, self.head = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 8, 1), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        x = x + self.project(self.filter(self.expand(x)))
        return self.head(self.last(x).mean([2, 3]))


class Uneven(nn.Module):
    """Depthwise-separable, with channels of wildly uneven ranges between its layers."""

    def __init__(self) -> None:
        super().__init__()
        self.expand, self.relu1 = nn.Conv2d(3, 12, 1), nn.ReLU()
        self.filter, self.relu2 = nn.Conv2d(12, 12, 3, padding=1, groups=12), nn.ReLU()
        self.project, self.head = nn.Conv2d(12, 8, 1), nn.Linear(8, 5)
        factors = torch.logspace(-3, 3, 12)
        with torch.no_grad():
            self.expand.weight.mul_(factors.view(-1, 1, 1, 1))
            self.expand.bias.mul_(factors)
            self.filter.weight.div_(factors.view(-1, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu2(self.filter(self.relu1(self.expand(x))))
        return self.head(self.project(x).mean([2, 3]))


class Tables(nn.Module):
    """An embedding, an embedding bag, and a linear layer over both."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.topics = nn.Embedding(20, 16), nn.EmbeddingBag(20, 16, mode="sum")
        self.head = nn.Linear(16, 5)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.words(ids).mean(1) + self.topics(ids))


class OneWayLstm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(4, 8, batch_first=True), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.lstm(x)
        return self.head(y[:, -1])


class ConvGruLstm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu = nn.Conv1d(4, 8, 3, padding=1), nn.ReLU()
        self.gru, self.lstm = nn.GRU(8, 12, batch_first=True), nn.LSTM(12, 12, batch_first=True)
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.gru(self.relu(self.conv(x)).transpose(1, 2))
        y, _ = self.lstm(y)
        return self.head(y[:, -1])


class Fusible(nn.Module):
    """Everything that oneDNN alone fuses."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(3, 8, 3, padding=1)
        self.first, self.leaky = nn.Linear(8, 8), nn.LeakyReLU(0.1)
        self.second, self.tanh = nn.Linear(8, 8), nn.Tanh()
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.conv1(x) + self.conv2(x)).mean([2, 3])
        return self.head(self.tanh(self.second(self.leaky(self.first(x)))))


MODELS: dict[str, tuple[type[nn.Module], tuple[int, ...]]] = {
    **tiny_models.MODELS,
    "conv-relu": (ConvRelu, (1, 4, 4)),
    "mobilenet": (InvertedResidual, (3, 8, 8)),
    "uneven": (Uneven, (3, 8, 8)),
    "conv-gru-lstm": (ConvGruLstm, (4, 10)),
    "one-way-lstm": (OneWayLstm, (6, 4)),
    "tables": (Tables, (6,)),
    "fusible": (Fusible, (3, 8, 8)),
}
"""Name -> class, and the shape of one sample."""
TAKES_IDS = {"lstm", "tables"}


def program_and_data(name: str, folder: Path, *, labelled: bool) -> tuple[octet.Program, octet.Dataset]:
    """The model out of its `.pt2`, with batch norms that have statistics, and samples with what fp32 makes of them."""
    torch.manual_seed(0)
    kind, shape = MODELS[name]
    model = kind()
    inputs = torch.randint(0, 20, (48, *shape)) if name in TAKES_IDS else torch.randn(48, *shape)
    with torch.no_grad():
        model.train()(inputs)
        classes = model.eval()(inputs).argmax(1)
    path = octet.export(model, (inputs[:4].clone(),), folder / "model.pt2")
    labels: dict[str, np.ndarray] = {"label": classes.numpy()} if labelled else {}
    return octet.load(path), octet.Dataset({"input_0": inputs.numpy(), **labels})
