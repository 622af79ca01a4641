"""The authors' weights of RVOS, made up: names and shapes are those of the release."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor

from downstream.systems.rvos.network import FORMAT
from downstream.systems.rvos.released import from_authors
from mug.cli import main
from mug.errors import InputError
from tests.downstream.systems.rvos.dense import features, frame_of_objects

HIDDEN = 16
SIZE = (64, 96)


def release(task: str = "one-shot", depth: int = 34) -> dict[str, Tensor]:
    """Encoder and decoder of a ResNet-34, whose maps have 512, 256, 128 and 64 channels."""
    torch.manual_seed(0)
    made = {f"base.{name}": x for name, x in getattr(torchvision.models, f"resnet{depth}")().state_dict().items()}
    skips = [HIDDEN, HIDDEN, HIDDEN // 2, HIDDEN // 4]
    maps = [512, 256, 128, 64]
    for number, into, out in zip((5, 4, 3, 2), maps, skips, strict=True):
        made[f"sk{number}.weight"] = torch.randn(out, into, 3, 3) * (9 * into) ** -0.5
        made[f"sk{number}.bias"] = torch.randn(out)
        for name in ("weight", "bias", "running_mean", "running_var"):
            made[f"bn{number}.{name}"] = torch.rand(out) + 0.5
        made[f"bn{number}.num_batches_tracked"] = torch.tensor(3)
    below = 0
    for k in range(4):
        width = HIDDEN >> k
        inputs = below + skips[k] + (task == "one-shot") + 2 * width
        made[f"clstm_list.{k}.Gates.weight"] = torch.randn(4 * width, inputs, 3, 3) * 0.1
        made[f"clstm_list.{k}.Gates.bias"] = torch.randn(4 * width)
        below = width
    made["conv_out.weight"] = torch.randn(1, HIDDEN >> 3, 3, 3)
    made["conv_out.bias"] = torch.randn(1)
    return made


@pytest.mark.parametrize("task", ["one-shot", "zero-shot"])
def test_the_network_computes_what_the_release_does(task: str) -> None:
    """With their single kernel for all inputs of a level, over two frames of three objects."""
    tensors = release(task)
    network = from_authors(tensors).network.double()
    assert network.config.task == task
    assert (network.config.hidden, network.config.levels, network.config.readout) == (HIDDEN, 4, 3)
    assert (network.config.trunk.depth, network.config.trunk.stride, network.config.stop) == (34, 32, False)
    weights = {name: x.double() for name, x in tensors.items()}
    masks = torch.rand(1, 3, *SIZE, dtype=torch.float64) if task == "one-shot" else None
    hidden, before = None, None
    for _ in range(2):
        frames = torch.rand(1, 3, *SIZE, dtype=torch.float64)
        feats = features(network, frames)
        out = network.decode(network.see(frames), SIZE, 3, hidden, masks)
        logits, before = frame_of_objects(
            weights, feats, SIZE, 3, spatial=True, temporal=True, before=before, masks_bnhw=masks
        )
        hidden = out.hidden
        torch.testing.assert_close(out.logits, logits)
        assert out.stops is None and logits.std() > 0.01


def test_every_tensor_goes_to_its_place() -> None:
    tensors = release()
    found = from_authors({f"module.{name}": x for name, x in tensors.items()})  # trained on several GPUs
    state = found.network.state_dict()
    names = {theirs.removeprefix("module."): ours for theirs, ours in found.names.items()}
    assert set(tensors) - set(names) == {"base.fc.weight", "base.fc.bias"}
    place = {5: 0, 4: 1, 3: 2, 2: 3}
    for theirs, ours in names.items():
        if theirs.endswith("Gates.weight"):
            k, below = int(theirs.split(".")[1]), theirs.split(".")[1] != "0"
            assert ours == f"levels.{k}.frame.weight + levels.{k}.rest.weight"
            above = (HIDDEN >> (k - 1)) * below if k else 0
            frame = HIDDEN >> max(k - 1, 0)
            assert torch.equal(state[f"levels.{k}.frame.weight"], tensors[theirs][:, above : above + frame])
            assert torch.equal(state[f"levels.{k}.rest.weight"][:, :above], tensors[theirs][:, :above])
            assert torch.equal(state[f"levels.{k}.rest.weight"][:, above:], tensors[theirs][:, above + frame :])
            continue
        part, rest = theirs.split(".", 1)
        expected = {
            "base": f"trunk.resnet.{rest}",
            "conv_out": f"mask.{rest}",
            "clstm_list": f"levels.{rest.split('.')[0]}.frame.bias",
        }.get(part) or f"skips.{place[int(part[2])]}.{int(part[:2] == 'bn')}.{rest}"
        assert ours == expected
        assert torch.equal(state[ours], tensors[theirs])


def test_scores_that_the_release_does_not_use_are_left_out() -> None:
    assert "fc_stop.weight" not in from_authors(release() | {"fc_stop.weight": torch.ones(1, 30)}).names


@pytest.mark.parametrize(
    ("gone", "more", "told"),
    [
        ("clstm_list.", {}, "lacks clstm_list.0.Gates.weight; save encoder.pt and decoder.pt"),
        ("base.", {}, "lacks base.layer3.0.conv1.weight"),
        ("bn3.", {}, "lacks what makes skips.2.1.weight"),
        ("clstm_list.2.Gates.bias", {}, "lacks what makes levels.2.frame.bias"),
        ("nothing", {"strange.weight": torch.ones(1)}, "holds strange.weight"),
        ("nothing", {"sk6.weight": torch.ones(1)}, "holds sk6.weight"),
        ("nothing", {"clstm_list.4.Gates.bias": torch.ones(1)}, "holds clstm_list.4.Gates.bias"),
        ("nothing", {"conv_out.bias": torch.ones(2)}, r"holds conv_out.bias \(2,\)"),
        ("nothing", {"clstm_list.1.Gates.weight": torch.ones(32, 3, 3, 3)}, "holds clstm_list.1.Gates.weight"),
        ("base.layer3.5.", {}, "has 5 blocks in base.layer3"),
    ],
)
def test_what_is_not_of_the_release_is_refused(gone: str, more: dict[str, Tensor], told: str) -> None:
    tensors = {name: x for name, x in release().items() if not name.startswith(gone)} | more
    with pytest.raises(InputError, match=told):
        from_authors(tensors)


def test_convert_takes_both_files_as_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tensors = release()
    torch.save({name: x for name, x in tensors.items() if not name.startswith("clstm")}, tmp_path / "half.pth")
    torch.save(tensors, tmp_path / "rvos.pth")
    words = ["--out", str(tmp_path / "rvos.safetensors")]
    assert main(["convert", "rvos", str(tmp_path / "half.pth"), *words]) == 2
    assert "half.pth: lacks clstm_list.0.Gates.weight; save encoder.pt and decoder.pt" in capsys.readouterr().err
    assert main(["convert", "rvos", str(tmp_path / "rvos.pth"), *words]) == 0
    assert "base.fc.weight (1000, 512) -> left out" in capsys.readouterr().out
    network, _ = FORMAT.load(tmp_path / "rvos.safetensors")
    assert network.config.task == "one-shot"
