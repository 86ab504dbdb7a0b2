"""Plain modules for the benches: the published architectures, initialised so that activations do not vanish.

Random weights stand in for trained ones, so batch-norm statistics are taken from data first (`settle`): with the
initial running mean 0 and variance 1 a deep net's activations shrink or grow from block to block, and SQNR would say
nothing.
"""

# No `from __future__ import annotations`: FX copies forward's annotations into code that TorchScript compiles, and
# TorchScript does not read them as strings.
from pathlib import Path

import torch
from torch import Tensor, nn

import octet

CLASSES = 1000


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut. Source: He et al., Deep Residual Learning, 2015."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = (
            nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
            if stride != 1 or inputs != outputs
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += shortcut
        return self.relu(y)


class ResNet18(nn.Module):
    """18 layers, 11.7 million parameters. Source: He et al., 2015."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(BasicBlock(64, 64, 1), BasicBlock(64, 64, 1))
        self.layer2 = nn.Sequential(BasicBlock(64, 128, 2), BasicBlock(128, 128, 1))
        self.layer3 = nn.Sequential(BasicBlock(128, 256, 2), BasicBlock(256, 256, 1))
        self.layer4 = nn.Sequential(BasicBlock(256, 512, 2), BasicBlock(512, 512, 1))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(512, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


def conv_bn_relu6(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(inplace=True),
    )


class InvertedResidual(nn.Module):
    """Expand, filter by channel, project. Source: Sandler et al., MobileNetV2, 2018."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.shortcut = stride == 1 and inputs == outputs
        self.conv = nn.Sequential(
            *([conv_bn_relu6(inputs, hidden, kernel=1)] if expansion != 1 else []),
            conv_bn_relu6(hidden, hidden, stride=stride, groups=hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.shortcut else self.conv(x)


class MobileNetV2(nn.Module):
    """Width 1.0, 3.5 million parameters. Source: Sandler et al., 2018, table 2."""

    STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))

    def __init__(self) -> None:
        super().__init__()
        blocks: list[nn.Module] = [conv_bn_relu6(3, 32, stride=2)]
        channels = 32
        for expansion, outputs, repeats, stride in self.STAGES:
            for index in range(repeats):
                blocks.append(InvertedResidual(channels, outputs, stride if index == 0 else 1, expansion))
                channels = outputs
        blocks.append(conv_bn_relu6(channels, 1280, kernel=1))
        self.features = nn.Sequential(*blocks)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean([2, 3]))


MODELS: dict[str, type[nn.Module]] = {"ResNet-18": ResNet18, "MobileNetV2": MobileNetV2}


def images(count: int, seed: int) -> Tensor:
    """[count, 3, 224, 224] float32: smooth noise, closer to a photograph's spectrum than white noise."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 3, 28, 28, generator=generator)
    fine = torch.randn(count, 3, 224, 224, generator=generator)
    return torch.nn.functional.interpolate(coarse, size=224, mode="bilinear") + 0.3 * fine


def settle(model: nn.Module) -> nn.Module:
    """He initialisation, then batch-norm statistics from 32 images; the model comes back in eval mode."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # a plain average over the batches below
    model.train()
    with torch.no_grad():
        for batch in images(32, seed=1).split(8):
            model(batch)
    return model.eval()


def build(name: str) -> nn.Module:
    """The model of that name, the same weights every time."""
    torch.manual_seed(0)
    return settle(MODELS[name]())


def export(name: str, folder: Path) -> tuple[nn.Module, Path]:
    """The model and its `.pt2` in `folder`."""
    model = build(name)
    return model, Path(octet.export(model, (images(2, seed=2),), folder / f"{name}.pt2"))
