"""Weights on disk, and every file that is none."""

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
from mug import checkpoint
from mug.backbone import Phi
from mug.checkpoint import load_torchvision, load_weights, save_weights, write_tensors
from mug.errors import InputError
from mug.model import MuG
from mug.options import BackboneConfig, ModelConfig

CONFIG = ModelConfig(BackboneConfig(depth=18, stages=2, stride=8), temperature=0.05)


@pytest.fixture(scope="module")
def model() -> MuG:
    torch.manual_seed(0)
    model = MuG(CONFIG)
    with torch.no_grad():
        model.phi(torch.rand(2, 3, 32, 32))  # statistics other than their defaults
    return model.eval()


@pytest.fixture
def weights(model: MuG, tmp_path: Path) -> Path:
    save_weights(tmp_path / "phi.safetensors", model, {"clips": "two of noise"})
    return tmp_path / "phi.safetensors"


def rewrite(path: Path, change: dict[str, torch.Tensor | None], **metadata: str) -> None:
    """Changes (or, with None, removes) tensors and metadata of a file."""
    with safetensors.safe_open(path, "pt") as file:
        note = file.metadata() | metadata
    tensors = safetensors.torch.load_file(path) | change
    safetensors.torch.save_file({k: x for k, x in tensors.items() if x is not None}, path, note)


def test_weights_come_back_with_their_config_and_metadata(model: MuG, weights: Path) -> None:
    loaded, metadata = load_weights(weights)
    assert loaded.config == CONFIG
    assert not loaded.training
    assert metadata["clips"] == "two of noise"
    assert metadata["version"] == mug.__version__
    assert json.loads(metadata["config"])["backbone"]["depth"] == 18
    frame = torch.rand(1, 3, 32, 48)
    with torch.no_grad():
        ours, theirs = model.phi(frame), loaded.phi(frame)
        torch.testing.assert_close(model.rho(ours.trunk), loaded.rho(theirs.trunk), rtol=0.02, atol=0.02)
    assert loaded.temperature == model.temperature
    assert {x.dtype for x in loaded.parameters()} == {torch.float32}


def test_kernels_are_half_statistics_are_not_and_training_heads_stay_out(weights: Path) -> None:
    stored = safetensors.torch.load_file(weights)
    assert stored["phi.resnet.conv1.weight"].dtype == torch.float16
    assert stored["phi.resnet.bn1.running_var"].dtype == torch.float32
    assert not [name for name in stored if name.startswith(("kappa", "short"))]
    assert any(name.startswith("readout") for name in stored)


def test_the_default_network_fits_into_25_megabytes(tmp_path: Path) -> None:
    save_weights(tmp_path / "w.safetensors", MuG(ModelConfig()), {})
    assert (tmp_path / "w.safetensors").stat().st_size < 25e6


def test_none_means_the_packaged_weights(weights: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(checkpoint, "PACKAGED", weights.parent)
    assert load_weights(None)[0].config == CONFIG
    monkeypatch.setattr(checkpoint, "PACKAGED", tmp_path / "empty")
    with pytest.raises(InputError, match="no weights come with this installation"):
        load_weights(None)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.safetensors: no such file"):
        load_weights(tmp_path / "nowhere.safetensors")


def test_a_pickle_is_refused_unopened(tmp_path: Path) -> None:
    for name, write in (("zip", torch.save), ("raw", lambda x, path: path.write_bytes(pickle.dumps(x)))):
        path = tmp_path / f"{name}.safetensors"
        write({"a": torch.ones(2)}, path)
        with pytest.raises(InputError, match=rf"{name}\.safetensors: is a pickle"):
            load_weights(path)


@pytest.mark.parametrize("keep", [0, 1000, -1])
def test_a_truncated_file_is_refused(weights: Path, keep: int) -> None:
    weights.write_bytes(weights.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"phi\.safetensors: is damaged"):
        load_weights(weights)


def test_weights_of_another_architecture_are_refused(weights: Path) -> None:
    rewrite(weights, {"phi.resnet.conv1.weight": torch.zeros(64, 3, 5, 5)})
    with pytest.raises(InputError, match=r"phi\.safetensors: is of another architecture \(phi\.resnet\.conv1\.weight"):
        load_weights(weights)


@pytest.mark.parametrize(("name", "tensor"), [("rho.conv.weight", None), ("extra.weight", torch.ones(1))])
def test_missing_and_surplus_tensors_are_refused(weights: Path, name: str, tensor: torch.Tensor | None) -> None:
    rewrite(weights, {name: tensor})
    with pytest.raises(InputError, match=rf"another architecture \({name}"):
        load_weights(weights)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(weights: Path, bad: float) -> None:
    rewrite(weights, {"rho.conv.bias": torch.tensor([bad])})
    with pytest.raises(InputError, match=r"phi\.safetensors: rho\.conv\.bias is not finite"):
        load_weights(weights)


def test_somebody_elses_safetensors_are_refused(tmp_path: Path) -> None:
    safetensors.torch.save_file({"x": torch.ones(1)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="was not written by mug"):
        load_weights(tmp_path / "other.safetensors")


@pytest.mark.parametrize("config", ["{", '{"backbone": {"colour": 1}}', "[]", '{"backbone": 3}'])
def test_an_unreadable_config_is_refused(weights: Path, config: str) -> None:
    rewrite(weights, {}, config=config)
    with pytest.raises(InputError, match="its configuration is not readable"):
        load_weights(weights)


def test_a_failed_save_leaves_the_old_file(model: MuG, weights: Path) -> None:
    before = weights.read_bytes()
    with pytest.raises(TypeError):
        save_weights(weights, model, {"not text": 1})  # type: ignore[dict-item]
    assert weights.read_bytes() == before
    assert [p.name for p in weights.parent.iterdir()] == [weights.name]


# --- torchvision's files ---------------------------------------------------------------------------------------------


def test_old_torchvision_files_without_a_count_of_batches_load(tmp_path: Path) -> None:
    state = {k: x for k, x in torchvision.models.resnet18().state_dict().items() if "num_batches" not in k}
    torch.save(state, tmp_path / "old.pth")
    phi = Phi(CONFIG.backbone)
    load_torchvision(phi, tmp_path / "old.pth")
    assert torch.equal(phi.resnet.layer2[1].conv2.weight, state["layer2.1.conv2.weight"])


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "net.", "encoder."])
def test_torchvision_weights_that_others_trained_on(tmp_path: Path, prefix: str) -> None:
    state = torchvision.models.resnet18().state_dict()
    torch.save({"net": {prefix + k: x for k, x in state.items()}}, tmp_path / "w.pth")
    phi = Phi(CONFIG.backbone)
    load_torchvision(phi, tmp_path / "w.pth")
    assert torch.equal(phi.resnet.conv1.weight, state["conv1.weight"])


class Code:
    """What pickle runs when it reads it."""

    def __reduce__(self) -> tuple:
        return print, ("run",)


def test_bad_torchvision_files_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    phi = Phi(CONFIG.backbone)
    truncated, code, no_state = tmp_path / "truncated.pth", tmp_path / "code.pth", tmp_path / "list.pth"
    torch.save(phi.resnet.state_dict(), truncated)
    truncated.write_bytes(truncated.read_bytes()[:2000])
    torch.save({"x": Code()}, code)
    torch.save([torch.ones(1)], no_state)
    for path in (truncated, code, no_state, tmp_path / "absent.pth"):
        with pytest.raises(InputError, match=path.name):
            load_torchvision(phi, path)
    assert capsys.readouterr().out == ""
    deeper = Phi(BackboneConfig(depth=50, stages=2)).resnet.state_dict()
    write_tensors(tmp_path / "resnet50.safetensors", deeper, {})
    with pytest.raises(InputError, match=r"resnet50\.safetensors: is of another architecture"):
        load_torchvision(phi, tmp_path / "resnet50.safetensors")
