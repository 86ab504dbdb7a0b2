"""Models of every family, small enough to be quantized in a fraction of a second."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ResidualNet(nn.Module):
    """conv-bn-relu, a residual block, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.conv1 = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(8)
        self.relu2 = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        return self.fc(torch.flatten(self.pool(self.relu2(torch.add(y, x))), 1))


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(16, 32)
        self.relu = nn.ReLU()
        self.fc2 = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.relu(self.fc1(x)))


class ConvGru(nn.Module):
    """A convolution in front of a recurrent layer: static and dynamic in one model."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(4, 8, 3, padding=1)
        self.relu = nn.ReLU()
        self.gru = nn.GRU(8, 12, batch_first=True)
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.gru(self.relu(self.conv(x)).transpose(1, 2))
        return self.head(y[:, -1])


class TextLstm(nn.Module):
    """Token ids, an embedding, a bidirectional LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.lstm = nn.LSTM(8, 8, batch_first=True, bidirectional=True)
        self.head = nn.Linear(16, 5)

    def forward(self, ids: Tensor) -> Tensor:
        y, _ = self.lstm(self.embedding(ids))
        return self.head(y[:, -1])


class Encoder(nn.Module):
    """One layer of a transformer encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(16, 16) for _ in range(4))
        self.norm1, self.norm2 = nn.LayerNorm(16), nn.LayerNorm(16)
        self.up, self.gelu, self.down = nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        scores = torch.matmul(self.query(x), self.key(x).transpose(1, 2)) / 4.0
        x = self.norm1(torch.add(x, self.out(torch.matmul(torch.softmax(scores, -1), self.value(x)))))
        x = self.norm2(torch.add(x, self.down(self.gelu(self.up(x)))))
        return self.head(x.mean(1))


MODELS: dict[str, tuple[type[nn.Module], tuple[int, ...]]] = {
    "residual": (ResidualNet, (3, 8, 8)),
    "mlp": (Mlp, (16,)),
    "conv-gru": (ConvGru, (4, 10)),
    "lstm": (TextLstm, (6,)),
    "encoder": (Encoder, (6, 16)),
}
"""Family -> class, and the shape of one sample."""


def make(family: str) -> nn.Module:
    """The model of `family`, the same at every call, in eval mode, its batch norms with statistics of their own."""
    torch.manual_seed(0)
    model = MODELS[family][0]()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model.eval()


def inputs_of(family: str, count: int = 32, seed: int = 0) -> Tensor:
    """`count` inputs for the model of `family`."""
    generator = torch.Generator().manual_seed(seed)
    shape = (count, *MODELS[family][1])
    if family == "lstm":
        return torch.randint(0, 20, shape, generator=generator)
    return torch.randn(shape, generator=generator)
