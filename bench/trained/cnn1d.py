"""1-D convolutions over a wave. Source: Dai et al., Very Deep CNNs for Raw Waveforms, arXiv:1610.00087, table 1."""

from torch import Tensor, nn


def conv_bn_relu(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
    conv = nn.Conv1d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm1d(outputs), nn.ReLU())


class WaveCnn(nn.Module):
    """A wide first filter, then ever more channels at ever lower rates."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            conv_bn_relu(1, 24, 33, 4),
            nn.MaxPool1d(2),
            conv_bn_relu(24, 32, 5, 1),
            conv_bn_relu(32, 48, 5, 2),
            conv_bn_relu(48, 64, 5, 2),
        )
        self.pool = nn.AdaptiveAvgPool1d(1)
        self.fc = nn.Linear(64, classes)

    def forward(self, wave: Tensor) -> Tensor:
        return self.fc(self.pool(self.features(wave)).flatten(1))
