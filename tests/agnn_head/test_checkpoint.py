"""AGNN's weights on disk, phi's and torchvision's into it, and every file that is none of them."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch

import mug
import mug.checkpoint
from agnn_head.checkpoint import load_weights, save_weights
from agnn_head.model import AGNN
from agnn_head.options import AGNNConfig
from mug.errors import InputError
from mug.model import MuG
from mug.options import BackboneConfig, EmbeddingConfig, ModelConfig

BACKBONE = BackboneConfig(depth=18, stages=2, stride=8)
CONFIG = AGNNConfig(EmbeddingConfig(backbone=BACKBONE, rates=(1, 2, 3)), channels=16, iterations=2)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_weights(tmp_path / "agnn.safetensors", AGNN(CONFIG), {"data": "two of noise"})
    return tmp_path / "agnn.safetensors"


def rewrite(path: Path, change: dict[str, torch.Tensor | None], **metadata: str) -> None:
    """Changes (or, with None, removes) tensors and metadata of a file."""
    with safetensors.safe_open(path, "pt") as file:
        note = file.metadata() | metadata
    tensors = safetensors.torch.load_file(path) | change
    safetensors.torch.save_file({k: x for k, x in tensors.items() if x is not None}, path, note)


def test_weights_come_back_with_their_config_and_metadata(tmp_path: Path) -> None:
    model = AGNN(CONFIG)
    model(torch.rand(1, 2, 3, 32, 32))  # statistics other than their defaults
    save_weights(tmp_path / "agnn.safetensors", model, {"data": "two of noise"})
    loaded, metadata = load_weights(tmp_path / "agnn.safetensors")
    assert loaded.config == CONFIG
    assert not loaded.training
    assert metadata["data"] == "two of noise" and metadata["version"] == mug.__version__
    frames = torch.rand(1, 2, 3, 32, 48)
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(frames), loaded(frames), rtol=0.02, atol=0.02)
    assert {x.dtype for x in loaded.parameters()} == {torch.float32}
    stored = safetensors.torch.load_file(tmp_path / "agnn.safetensors")
    assert stored["messages.line.free"].dtype == torch.float16
    assert stored["readout.layers.1.running_var"].dtype == torch.float32


def test_an_absent_file_a_pickle_and_a_truncated_file_are_refused(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.safetensors: no such file"):
        load_weights(tmp_path / "nowhere.safetensors")
    (tmp_path / "raw.safetensors").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(InputError, match=r"raw\.safetensors: is a pickle"):
        load_weights(tmp_path / "raw.safetensors")
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"agnn\.safetensors: is damaged"):
        load_weights(weights)


def test_weights_of_mug_are_no_agnn(tmp_path: Path) -> None:
    mug.checkpoint.save_weights(tmp_path / "phi.safetensors", MuG(ModelConfig(BACKBONE)), {})
    with pytest.raises(InputError, match=r"phi\.safetensors: holds no agnn"):
        load_weights(tmp_path / "phi.safetensors")


def test_agnn_is_no_weights_of_mug(weights: Path) -> None:
    with pytest.raises(InputError, match=r"agnn\.safetensors: its configuration is not readable"):
        mug.checkpoint.load_weights(weights)


@pytest.mark.parametrize(
    ("name", "tensor"),
    [("update.reset.weight", None), ("extra.weight", torch.ones(1)), ("messages.line.free", torch.ones(3, 3))],
)
def test_another_architecture_is_refused(weights: Path, name: str, tensor: torch.Tensor | None) -> None:
    rewrite(weights, {name: tensor})
    with pytest.raises(InputError, match=rf"another architecture \({name}"):
        load_weights(weights)


def test_values_that_are_not_finite_are_refused(weights: Path) -> None:
    rewrite(weights, {"update.message.bias": torch.full((48,), torch.nan)})
    with pytest.raises(InputError, match=r"update\.message\.bias is not finite"):
        load_weights(weights)


@pytest.mark.parametrize("config", ["{", "[]", '{"embedding": 3}', '{"embedding": {"backbone": {}, "colour": 1}}'])
def test_an_unreadable_config_is_refused(weights: Path, config: str) -> None:
    rewrite(weights, {}, config=config)
    with pytest.raises(InputError, match="its configuration is not readable"):
        load_weights(weights)


def test_an_old_file_of_this_program_says_which_version_wrote_it(weights: Path) -> None:
    with safetensors.safe_open(weights, "pt") as file:
        fields = json.loads(file.metadata()["config"])
    rewrite(weights, {}, config=json.dumps(fields | {"forgotten": 1}), version="0.0.1")
    with pytest.raises(InputError, match=r"use mug 0\.0\.1"):
        load_weights(weights)
