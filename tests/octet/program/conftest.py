"""Files to read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from attacking import Small
from zoo import ResNet, live

import octet

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def resnet_pt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small residual network as a `.pt2`."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("resnet") / "resnet.pt2"
    return octet.export(live(ResNet()), torch.randn(1, 3, 16, 16), path)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One linear layer, one ReLU, one multiplication."""
    return octet.export(Small(), torch.randn(2, 4), tmp_path_factory.mktemp("small") / "small.pt2")
