"""Small models of each family, written as their authors would: plain modules, with the traps of real ones."""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """ResNet's block: one ReLU module, called twice."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += identity
        return self.relu(out)


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        self.layer1 = nn.Sequential(BasicBlock(8, 8), BasicBlock(8, 8))
        self.layer2 = nn.Sequential(BasicBlock(8, 16, 2))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer2(self.layer1(x))
        return self.fc(torch.flatten(self.avgpool(x), 1))


class InvertedResidual(nn.Module):
    """MobileNetV2's block, and V3's with squeeze-and-excitation."""

    def __init__(self, channels: int, act: type[nn.Module], *, squeeze: bool) -> None:
        super().__init__()
        hidden = channels * 2
        self.expand = nn.Sequential(nn.Conv2d(channels, hidden, 1, bias=False), nn.BatchNorm2d(hidden), act())
        self.depthwise = nn.Sequential(
            nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden, bias=False), nn.BatchNorm2d(hidden), act()
        )
        self.squeeze = (
            nn.Sequential(
                nn.AdaptiveAvgPool2d(1), nn.Conv2d(hidden, 4, 1), nn.ReLU(), nn.Conv2d(4, hidden, 1), nn.Hardsigmoid()
            )
            if squeeze
            else None
        )
        self.project = nn.Sequential(nn.Conv2d(hidden, channels, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        out = self.depthwise(self.expand(x))
        if self.squeeze is not None:
            out = self.squeeze(out) * out
        return x + self.project(out)


class MobileNet(nn.Module):
    def __init__(self, act: type[nn.Module], *, squeeze: bool) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Sequential(nn.Conv2d(3, 8, 3, 2, padding=1, bias=False), nn.BatchNorm2d(8), act()),
            InvertedResidual(8, act, squeeze=squeeze),
            InvertedResidual(8, act, squeeze=squeeze),
        )
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(8, 5))

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        return self.classifier(F.adaptive_avg_pool2d(x, (1, 1)).reshape(x.shape[0], -1))


class VGG(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(True), nn.MaxPool2d(2, 2),
            nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(True), nn.MaxPool2d(2, 2),
        )  # fmt: skip
        self.classifier = nn.Sequential(nn.Linear(8 * 16, 16), nn.ReLU(True), nn.Dropout(), nn.Linear(16, 5))

    def forward(self, x: Tensor) -> Tensor:
        x = F.adaptive_avg_pool2d(self.features(x), (4, 4))
        return self.classifier(torch.flatten(x, 1))


class DenseNet(nn.Module):
    """Concatenation, norm before activation, functional ReLU in a container."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(4 * (i + 1)) for i in range(3))
        self.convs = nn.ModuleList(nn.Conv2d(4 * (i + 1), 4, 3, padding=1, bias=False) for i in range(3))
        self.transition = nn.Sequential(
            OrderedDict(
                norm=nn.BatchNorm2d(16), relu=nn.ReLU(inplace=True), conv=nn.Conv2d(16, 8, 1), pool=nn.AvgPool2d(2)
            )
        )
        self.classifier = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        features = [self.stem(x)]
        for norm, conv in zip(self.norms, self.convs, strict=True):
            features.append(conv(F.relu(norm(torch.cat(features, 1)), inplace=True)))
        x = F.relu(self.transition(torch.cat(features, 1)))
        return self.classifier(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Inception(nn.Module):
    """Parallel branches, asymmetric kernels, ceil_mode, chunks."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2)
        self.one = nn.Conv2d(8, 4, 1)
        self.wide = nn.Sequential(nn.Conv2d(8, 4, (1, 7), padding=(0, 3)), nn.Conv2d(4, 4, (7, 1), padding=(3, 0)))
        self.pooled = nn.Conv2d(8, 4, 1)
        self.fc = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.stem(x)), 3, 2, ceil_mode=True)
        pooled = self.pooled(F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False))
        x = torch.cat([F.relu(self.one(x)), F.relu(self.wide(x)), F.relu(pooled)], dim=1)
        first, second, third = x.chunk(3, dim=1)
        x = torch.cat([second, first, third], dim=1)
        return self.fc(x.mean([2, 3]))


class Encoder(nn.Module):
    """`nn.TransformerEncoder` with learned positions, sliced to the length of the input."""

    def __init__(self, *, norm_first: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(30, 16)
        self.positions = nn.Parameter(torch.randn(1, 20, 16) * 0.1)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, activation="gelu", norm_first=norm_first)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 5)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids) + self.positions[:, : ids.size(1)]
        return self.head(self.norm(self.encoder(x)).mean(dim=1))


class Attention(nn.Module):
    """Attention written out both ways, over a class token, with a causal mask kept as a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 16, 4, 4)
        self.cls = nn.Parameter(torch.randn(1, 1, 16))
        self.qkv = nn.Linear(16, 48)
        self.q, self.k, self.v = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 16)
        self.out = nn.Linear(16, 5)
        self.register_buffer("mask", torch.full((17, 17), float("-inf")).triu(1), persistent=False)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(x.shape[0], -1, -1), x], dim=1)
        batch, length, width = x.shape
        q, k, v = self.qkv(x).reshape(batch, length, 3, 2, 8).permute(2, 0, 3, 1, 4).unbind(0)
        x = x + F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, length, width)
        q, k, v = (linear(x).view(batch, length, 2, 8).transpose(1, 2) for linear in (self.q, self.k, self.v))
        weights = torch.softmax(q @ k.transpose(-2, -1) / 8**0.5 + self.mask[:length, :length], dim=-1)
        x = (weights @ v).transpose(1, 2).contiguous().view(batch, length, width)
        return {"logits": self.out(x[:, 0]), "tokens": x}


class MultiHead(nn.Module):
    """`nn.MultiheadAttention` that also returns its weights, with keys masked by the second input."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.norm = nn.LayerNorm(16)

    def forward(self, x: Tensor, keep: Tensor) -> tuple[Tensor, list[Tensor]]:
        attended, weights = self.attention(x, x, x, key_padding_mask=keep == 0)
        return self.norm(x + attended).amax(1), [weights]


class Recurrent(nn.Module):
    """Two recurrent layers of two levels each, both directions; the first state is given, the second is not."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(30, 8, padding_idx=0)
        self.gru = nn.GRU(8, 6, num_layers=2, batch_first=True, bidirectional=True, dropout=0.1)
        self.lstm = nn.LSTM(12, 6, num_layers=2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(12, 5)

    def forward(self, ids: Tensor) -> Tensor:
        x, _ = self.gru(self.embedding(ids))
        _, (hidden, _) = self.lstm(x)
        return self.head(torch.cat([hidden[-2], hidden[-1]], dim=1))


class Stateful(nn.Module):
    """An LSTM over steps first, whose initial state comes from the data, and a plain RNN."""

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Linear(4, 6)
        self.lstm = nn.LSTM(4, 6)
        self.rnn = nn.RNN(6, 5, batch_first=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        state = torch.tanh(self.start(x.mean(1))).unsqueeze(0)
        out, (hidden, cell) = self.lstm(x.transpose(0, 1), (state, torch.zeros_like(state)))
        out, last = self.rnn(out.transpose(0, 1))
        return out[:, -1] + last[0], hidden + cell


class MLP(nn.Module):
    """Norms, activations and arithmetic."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 12), nn.Linear(12, 12), nn.Linear(12, 3)
        self.norm = nn.BatchNorm1d(12)
        self.prelu = nn.PReLU(12)
        self.register_buffer("scale", torch.tensor([0.5, 2.0, 1.0]))

    def forward(self, x: Tensor) -> Tensor:
        x = self.prelu(self.norm(self.a(x)))
        y = F.silu(self.b(x)) + F.leaky_relu(x, 0.2) * F.elu(x) - F.gelu(x, approximate="tanh")
        y = torch.where(y > 0, y, y.abs().sqrt().clamp(max=3.0)) / (1 + y.pow(2))
        return F.log_softmax(self.c(y).masked_fill(self.c(y).abs() < 0.01, 0.0) * self.scale, dim=-1)


class Signal(nn.Module):
    """1-D convolutions padded to the same length, group norm, pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv1d(2, 8, 5, padding="same", dilation=2)
        self.norm = nn.GroupNorm(2, 8)
        self.b = nn.Conv1d(8, 8, 4, padding="same")
        self.up = nn.ConvTranspose1d(8, 4, 3, stride=2, padding=1, output_padding=1)
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool1d(F.mish(self.norm(self.a(x))), 2)
        x = F.avg_pool1d(torch.tanh(self.b(x)), 2)
        return self.head(F.adaptive_avg_pool1d(self.up(x), 1).squeeze(-1))


class Volume(nn.Module):
    """3-D convolutions over a clip, then a GRU over its frames."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm3d(4)
        self.pool = nn.MaxPool3d((1, 2, 2))
        self.gru = nn.GRU(4 * 16, 6, batch_first=True)
        self.head = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(F.relu6(self.norm(self.conv(x))))
        x = x.permute(0, 2, 1, 3, 4).flatten(2)
        _, hidden = self.gru(x)
        return self.head(hidden.squeeze(0))


class UNet(nn.Module):
    """Down and up again: transposed convolution, both ways of resizing, padding to fit, a skip."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 8, 3, 2, padding=1)
        self.deep = nn.Conv2d(8, 8, 3, 2, padding=1)
        self.up = nn.ConvTranspose2d(8, 8, 2, 2)
        self.out = nn.Conv2d(16, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        skip = F.hardswish(self.down(x))
        deep = F.interpolate(self.up(torch.sigmoid(self.deep(skip))), scale_factor=0.5, mode="bilinear")
        deep = F.pad(F.interpolate(deep, size=(6, 6), mode="nearest"), (1, 1, 1, 1))
        return self.out(torch.cat([skip, deep], 1))


class Shared(nn.Module):
    """One layer called twice, tied weights, a functional call in a container, a weight that is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.ModuleDict({"lin": nn.Linear(8, 8), "act": nn.Hardtanh()})
        self.embedding = nn.Embedding(12, 8)
        self.decoder = nn.Linear(8, 12, bias=False)
        self.decoder.weight = self.embedding.weight
        self.q_bias, self.v_bias = nn.Parameter(torch.randn(4)), nn.Parameter(torch.randn(4))
        self.gain = nn.Parameter(torch.ones(8))

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids)
        x = F.relu(self.block["lin"](self.block["act"](self.block["lin"](x))))
        x = F.linear(x, self.block["lin"].weight * self.gain, torch.cat([self.q_bias, self.v_bias]))
        return self.decoder(x)


class Regions(nn.Module):
    """Parts without gradient and without autocast, one in the other, and a write to a part of a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = torch.tanh(self.a(x))
            with torch.autocast("cpu", enabled=False):
                x = self.b(x) * x.sigmoid()
        x = x.clone()
        x[:, :2].mul_(2.0)
        return self.head(F.relu(x))


def live(model: nn.Module) -> nn.Module:
    """The model with statistics as of a trained one: with the initial ones batch norm does nothing."""
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.3)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return model


def image() -> Tensor:
    return torch.randn(1, 3, 16, 16)


def ids() -> Tensor:
    return torch.randint(1, 12, (1, 10))


ZOO = {
    "resnet": (ResNet, lambda: (torch.randn(1, 3, 32, 32),)),
    "mobilenet_v2": (lambda: MobileNet(nn.ReLU6, squeeze=False), lambda: (image(),)),
    "mobilenet_v3": (lambda: MobileNet(nn.Hardswish, squeeze=True), lambda: (image(),)),
    "vgg": (VGG, lambda: (image(),)),
    "densenet": (DenseNet, lambda: (image(),)),
    "inception": (Inception, lambda: (torch.randn(1, 3, 20, 20),)),
    "encoder": (lambda: Encoder(norm_first=False), lambda: (ids(),)),
    "encoder_norm_first": (lambda: Encoder(norm_first=True), lambda: (ids(),)),
    "attention": (Attention, lambda: (image(),)),
    "multi_head": (MultiHead, lambda: (torch.randn(1, 6, 16), (torch.arange(6) < 5).float()[None])),
    "recurrent": (Recurrent, lambda: (ids(),)),
    "stateful": (Stateful, lambda: (torch.randn(1, 7, 4),)),
    "mlp": (MLP, lambda: (torch.randn(1, 6),)),
    "signal": (Signal, lambda: (torch.randn(1, 2, 32),)),
    "volume": (Volume, lambda: (torch.randn(1, 1, 4, 8, 8),)),
    "unet": (UNet, lambda: (image(),)),
    "shared": (Shared, lambda: (ids(),)),
    "regions": (Regions, lambda: (torch.randn(1, 6),)),
}
