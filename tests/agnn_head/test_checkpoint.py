"""AGNN's weights on disk, phi's and torchvision's into it, and every file that is none of them."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch
import torchvision

import mug
import mug.checkpoint
from agnn_head.checkpoint import load_deeplab, load_phi, load_weights, save_weights
from agnn_head.model import AGNN
from agnn_head.options import AGNNConfig, EmbeddingConfig
from mug.errors import InputError
from mug.model import MuG
from mug.options import BackboneConfig, ModelConfig

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
    with pytest.raises(InputError, match=r"phi\.safetensors: holds no AGNN"):
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


# --- starting from phi -----------------------------------------------------------------------------------------------


def test_phi_comes_from_weights_of_mug(tmp_path: Path) -> None:
    path = tmp_path / "phi.safetensors"
    mug.checkpoint.save_weights(path, MuG(ModelConfig(BACKBONE)), {})
    model = AGNN(CONFIG)
    load_phi(model, path)
    frame = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        expected = mug.checkpoint.load_weights(path)[0].phi(frame).trunk
        assert torch.equal(model.eval().embedding.trunk(frame).trunk, expected)


def test_another_phi_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "phi.safetensors"
    mug.checkpoint.save_weights(path, MuG(ModelConfig(BackboneConfig(depth=18, stages=2, stride=4))), {})
    with pytest.raises(InputError, match=r"phi\.safetensors: its phi has stride 4, not 8"):
        load_phi(AGNN(CONFIG), path)
    with pytest.raises(InputError, match="deeplab takes no weights of phi"):
        load_phi(AGNN(AGNNConfig(EmbeddingConfig("deeplab", depth=50), channels=8)), path)


# --- starting from torchvision's DeepLabV3 ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def deeplab() -> torch.nn.Module:
    """Torchvision's network with statistics that are not their defaults."""
    torch.manual_seed(0)
    net = torchvision.models.segmentation.deeplabv3_resnet50(weights=None, weights_backbone=None, aux_loss=True)
    for m in net.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            m.running_mean.normal_(std=0.1)
            m.running_var.uniform_(0.8, 1.2)
            torch.nn.init.uniform_(m.weight, 0.5, 1)
    return net.eval()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_deeplab_with_its_rates_embeds_as_torchvision_does(
    deeplab: torch.nn.Module, tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"deeplab{suffix}"
    (torch.save if suffix == ".pth" else safetensors.torch.save_file)(deeplab.state_dict(), path)
    model = AGNN(AGNNConfig(EmbeddingConfig("deeplab", depth=50, rates=(12, 24, 36)))).eval()
    load_deeplab(model, path)
    frame = torch.rand(1, 3, 40, 48)
    trunk = model.embedding.trunk
    with torch.no_grad():
        expected = deeplab.classifier[0](deeplab.backbone((frame - trunk.mean) / trunk.std)["out"])
        assert expected.std() > 0
        torch.testing.assert_close(model.embed(frame), expected, rtol=1e-4, atol=1e-4)


def test_deeplab_with_other_rates_takes_the_trunk_alone(deeplab: torch.nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "old.pth"
    torch.save({k: x for k, x in deeplab.state_dict().items() if "num_batches" not in k}, path)
    model = AGNN(AGNNConfig(EmbeddingConfig("deeplab", depth=50), channels=8)).eval()
    before = model.embedding.aspp.convs[1][0].weight.clone()
    load_deeplab(model, path)
    frame = torch.rand(1, 3, 24, 32)
    trunk = model.embedding.trunk
    with torch.no_grad():
        torch.testing.assert_close(trunk(frame), deeplab.backbone((frame - trunk.mean) / trunk.std)["out"])
    assert torch.equal(model.embedding.aspp.convs[1][0].weight, before)


def test_files_that_are_no_deeplab_are_refused(tmp_path: Path) -> None:
    model = AGNN(AGNNConfig(EmbeddingConfig("deeplab", depth=50), channels=8))
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "resnet18.pth")
    (tmp_path / "noise.pth").write_bytes(b"noise")
    for name, message in (("resnet18.pth", "another architecture"), ("noise.pth", "damaged"), ("no.pth", "no such")):
        with pytest.raises(InputError, match=rf"{name}: .*{message}"):
            load_deeplab(model, tmp_path / name)
    with pytest.raises(InputError, match="phi takes no weights of DeepLabV3"):
        load_deeplab(AGNN(CONFIG), tmp_path / "resnet18.pth")
