"""3-D convolutions over a clip, residual blocks over its frames, and a GRU over time."""

import torch
from torch import Tensor, nn


class FrameBlock(nn.Module):
    """A residual block that adds and scales in place."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        y *= 0.5
        y += x
        return torch.relu(y)


class CnnGru(nn.Module):
    """Conv3d, MaxPool3d, two residual blocks, a batch norm with no layer to go into, a GRU, a classifier."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.front = nn.Sequential(nn.Conv3d(1, 12, 3, 1, 1, bias=False), nn.BatchNorm3d(12), nn.ReLU())
        self.pool = nn.MaxPool3d((1, 2, 2))
        self.blocks = nn.Sequential(FrameBlock(12), FrameBlock(12))
        self.reduce = nn.Conv2d(12, 16, 3, 2, 1)
        self.norm = nn.BatchNorm1d(16 * 25)
        self.gru = nn.GRU(16 * 25, 32, batch_first=True)
        self.head = nn.Linear(32, classes)

    def forward(self, clip: Tensor) -> Tensor:
        x = self.pool(self.front(clip))
        batch, channels, frames, height, width = x.shape
        x = self.blocks(x.transpose(1, 2).reshape(batch * frames, channels, height, width))
        x = self.norm(torch.relu(self.reduce(x)).flatten(1)).view(batch, frames, -1)
        start = torch.zeros_like(x[:, 0, :32]).unsqueeze(0)
        y, _ = self.gru(x, start)
        return self.head(y[:, -1])
