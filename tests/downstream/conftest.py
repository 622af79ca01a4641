"""Weights that commands are tested with."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mug.checkpoint import save_weights
from mug.model import MuG
from mug.options import BackboneConfig, ModelConfig


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a small untrained phi, with a matching temperature; not to be changed."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "untrained.safetensors"
    model = MuG(ModelConfig(backbone=BackboneConfig(depth=18, stages=2, stride=8))).eval()
    save_weights(path, model, {"one_shot_temperature": "0.01"})
    return path
