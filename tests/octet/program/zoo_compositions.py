"""Small models whose forward does more than call its layers: grids, steps, windows, and weights made of the input."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn


class Detector(nn.Module):
    """A YOLO head: boxes as distributions over distances, decoded on grids of two scales."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Sequential(
            nn.Conv2d(3, 8, 3, 4, padding=1, bias=False), nn.BatchNorm2d(8), nn.SiLU(inplace=True)
        )
        self.coarse = nn.Sequential(nn.Conv2d(8, 8, 3, 2, padding=1, bias=False), nn.BatchNorm2d(8), nn.SiLU(True))
        self.box = nn.ModuleList(nn.Conv2d(8, 16, 1) for _ in range(2))
        self.score = nn.ModuleList(nn.Conv2d(8, 3, 1) for _ in range(2))
        self.expectation = nn.Conv2d(4, 1, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        levels = [self.fine(x)]
        levels.append(self.coarse(levels[0]))
        heads = [torch.cat([self.box[i](level), self.score[i](level)], 1) for i, level in enumerate(levels)]
        boxes, scores = torch.cat([head.view(x.shape[0], 19, -1) for head in heads], 2).split((16, 3), 1)
        batch, _, cells = boxes.shape
        boxes = self.expectation(boxes.view(batch, 4, 4, cells).transpose(2, 1).softmax(1)).view(batch, 4, cells)
        before, after = boxes.chunk(2, 1)
        centers, strides = self.grid(levels)
        return torch.cat([torch.cat([centers - before, centers + after], 1) * strides, scores.sigmoid()], 1)

    @staticmethod
    def grid(levels: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Centres [2, cells] and strides [1, cells]."""
        centers, strides = [], []
        for level, stride in zip(levels, (4, 8), strict=True):
            height, width = level.shape[2:]
            y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
            centers.append(torch.stack((x, y), -1).view(-1, 2))
            strides.append(torch.full((height * width, 1), stride, dtype=level.dtype))
        return torch.cat(centers).transpose(0, 1), torch.cat(strides).transpose(0, 1)


class Decoder(nn.Module):
    """Tacotron's: an LSTM cell that attends to the text at every step, and to where it has attended before."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(12, 8)
        self.cell = nn.LSTMCell(12, 8)
        self.query, self.energy = nn.Linear(8, 8, bias=False), nn.Linear(8, 1, bias=False)
        self.location = nn.Conv1d(2, 8, 3, padding=1, bias=False)
        self.frame = nn.Linear(16, 4)

    def forward(self, text: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        memory = self.embedding(text)
        batch, length, width = memory.shape
        hidden, cell = memory.new_zeros(batch, width), torch.zeros(batch, width)
        context, weights = memory.new_zeros(batch, width), memory.new_zeros(batch, length)
        seen, outputs, alignments = torch.zeros_like(weights), [], []
        for step in range(frames.size(1)):
            hidden, cell = self.cell(torch.cat([frames[:, step], context], 1), (hidden, cell))
            where = self.location(torch.stack([weights, seen], 1)).transpose(1, 2)
            energy = self.energy(torch.tanh(self.query(hidden).unsqueeze(1) + memory + where)).squeeze(-1)
            weights = F.softmax(energy.masked_fill(text.eq(0), -1e9), -1)
            seen = seen + weights
            context = torch.bmm(weights.unsqueeze(1), memory).squeeze(1)
            outputs.append(self.frame(torch.cat([hidden, context], 1)))
            alignments.append(weights)
        return torch.stack(outputs, 1), torch.stack(alignments, 1)


class Modulated(nn.Module):
    """StyleGAN's convolution: a kernel for each sample, scaled by its style and normalized, the batch as groups."""

    def __init__(self) -> None:
        super().__init__()
        self.style = nn.Sequential(nn.Linear(6, 8), nn.LeakyReLU(0.2))
        self.start = nn.Parameter(torch.randn(1, 4, 4, 4))
        self.scale = nn.Linear(8, 4)
        self.kernel = nn.Parameter(torch.randn(1, 5, 4, 3, 3))

    def forward(self, z: Tensor) -> Tensor:
        style = self.style(z * torch.rsqrt(z.square().mean(1, keepdim=True) + 1e-8))
        x = F.interpolate(self.start.repeat(z.shape[0], 1, 1, 1), scale_factor=2, mode="bilinear")
        batch, channels, height, width = x.shape
        kernel = self.kernel * self.scale(style).view(batch, 1, channels, 1, 1)
        kernel = kernel * torch.rsqrt(kernel.pow(2).sum([2, 3, 4], keepdim=True) + 1e-8)
        x = F.conv2d(x.view(1, -1, height, width), kernel.view(batch * 5, channels, 3, 3), padding=1, groups=batch)
        return x.view(batch, 5, height, width)


class Windows(nn.Module):
    """Swin's attention: shifted windows, a bias by relative position, patches merged by strided slices."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 2, 2)
        self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)
        self.bias = nn.Parameter(torch.randn(49, 2))
        self.reduction = nn.Linear(32, 4, bias=False)
        at = torch.stack(torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij")).flatten(1)
        apart = at[:, :, None] - at[:, None] + 3
        self.register_buffer("index", apart[0] * 7 + apart[1])

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).permute(0, 2, 3, 1)
        batch, height, width, channels = x.shape
        rolled = torch.roll(x, (-2, -2), (1, 2)).view(batch, height // 4, 4, width // 4, 4, channels)
        windows = rolled.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, 16, channels)
        q, k, v = self.qkv(windows).reshape(-1, 16, 3, 2, channels // 2).permute(2, 0, 3, 1, 4)
        scores = q * 4**-0.5 @ k.transpose(-2, -1) + self.bias[self.index.view(-1)].view(16, 16, -1).permute(2, 0, 1)
        y = self.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(-1, 16, channels))
        y = y.view(batch, height // 4, width // 4, 4, 4, channels).permute(0, 1, 3, 2, 4, 5).reshape(x.shape)
        x = x + torch.roll(y, (2, 2), (1, 2))
        x = torch.cat([x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)], -1)
        return self.reduction(x).mean((1, 2))


COMPOSITIONS = {
    "detector": (Detector, lambda: (torch.randn(1, 3, 32, 32),)),
    "decoder": (Decoder, lambda: (torch.tensor([[3, 1, 4, 1, 5, 0]]), torch.randn(1, 2, 4))),
    "modulated": (Modulated, lambda: (torch.randn(1, 6),)),
    "windows": (Windows, lambda: (torch.randn(1, 3, 16, 16),)),
}
