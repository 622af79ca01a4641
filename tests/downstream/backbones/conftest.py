"""Weights of a residual network, and a file of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor


@pytest.fixture(scope="session")
def resnet_state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return torchvision.models.resnet18().state_dict()


@pytest.fixture
def resnet_file(tmp_path: Path, resnet_state: dict[str, Tensor]) -> Path:
    torch.save(resnet_state, tmp_path / "resnet.pth")
    return tmp_path / "resnet.pth"
