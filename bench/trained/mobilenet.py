"""Depthwise-separable convolutions. Source: Sandler et al., MobileNetV2, arXiv:1801.04381, section 3."""

from torch import Tensor, nn


def conv_bn_act(
    inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1, act: type[nn.Module]
) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), act(inplace=True))


class InvertedResidual(nn.Module):
    """Expand, filter channel by channel, project."""

    def __init__(self, inputs: int, outputs: int, stride: int, act: type[nn.Module]) -> None:
        super().__init__()
        hidden = 4 * inputs
        self.shortcut = stride == 1 and inputs == outputs
        self.expand = conv_bn_act(inputs, hidden, 1, act=act)
        self.depthwise = conv_bn_act(hidden, hidden, 3, stride=stride, groups=hidden, act=act)
        self.project = nn.Sequential(nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.shortcut else y


class MobileNetV2(nn.Module):
    """Six inverted residuals at three sizes. `act` is ReLU6 in the paper."""

    def __init__(self, classes: int, act: type[nn.Module] = nn.ReLU6) -> None:
        super().__init__()
        self.features = nn.Sequential(
            conv_bn_act(1, 16, 3, stride=2, act=act),
            InvertedResidual(16, 16, 1, act),
            InvertedResidual(16, 24, 2, act),
            InvertedResidual(24, 24, 1, act),
            InvertedResidual(24, 32, 2, act),
            InvertedResidual(32, 32, 1, act),
            conv_bn_act(32, 96, 1, act=act),
        )
        self.classifier = nn.Sequential(nn.Dropout(0.1), nn.Linear(96, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean([2, 3]))
