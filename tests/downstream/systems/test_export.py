"""`mug export`, as a user types it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from agnn_head.checkpoint import FORMAT
from agnn_head.model import AGNN
from agnn_head.options import AGNNConfig
from downstream import export
from downstream.export import Writer
from downstream.systems.hcpn import HCPNConfig
from downstream.systems.hcpn.network import FORMAT as HCPN_FORMAT
from downstream.systems.hcpn.network import HCPN
from downstream.systems.rvos import RVOSConfig
from downstream.systems.rvos.network import FORMAT as RVOS_FORMAT
from downstream.systems.rvos.network import RVOS
from mug.checkpoint import load_torchvision, load_weights, save_weights
from mug.cli import main
from mug.model import MuG
from mug.networks.program import Part, open_onnx, open_torch
from mug.networks.residual import residual_layers
from mug.options import BackboneConfig, EmbeddingConfig, ModelConfig, TrunkConfig

PHI = BackboneConfig(depth=18, stages=2, stride=8)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights")
    save_weights(folder / "phi.safetensors", MuG(ModelConfig(PHI)), {"one_shot_temperature": "0.01"})
    trunk = TrunkConfig(backbone=PHI)
    small = EmbeddingConfig(backbone=PHI, rates=(1, 2, 3))
    FORMAT.save(folder / "agnn.safetensors", AGNN(AGNNConfig(small, channels=8, iterations=1)), {})
    RVOS_FORMAT.save(folder / "rvos.safetensors", RVOS(RVOSConfig(trunk, hidden=8)), {})
    hcpn = HCPN(HCPNConfig(trunk, channels=8, rates=(1, 2, 3), stacks=1, cascades=1))
    HCPN_FORMAT.save(folder / "hcpn.safetensors", hcpn, {})
    return folder


def refused(capsys: pytest.CaptureFixture[str], *words: object, status: int = 2) -> str:
    assert main(["export", *map(str, words)]) == status
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_agnn_becomes_a_program(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason="needs the extra `onnx`")
    file, out = weights / "agnn.safetensors", tmp_path / "agnn.onnx"
    words = ["--weights", file, "--to", "onnx", "--out", out, "--frames", 2]
    assert main(["export", *map(str, words)]) == 0
    said = capsys.readouterr().out
    assert "frames (batch, 2, 3, height, width) -> logits" in said
    assert f"{out}: differs from the network by " in said
    network, run = FORMAT.load(file)[0], open_onnx(out)
    for batch, height, width in ((1, 40, 72), (3, 57, 33)):
        frames = torch.rand(batch, 2, 3, height, width)
        with torch.no_grad():
            torch.testing.assert_close(run(frames)[0], network(frames), rtol=1e-4, atol=1e-4)
    import onnx

    model = onnx.load(out)
    assert {note.key: note.value for note in model.metadata_props}["iterations"] == "1"
    (shape,) = [[size.dim_param or size.dim_value for size in x.type.tensor_type.shape.dim] for x in model.graph.input]
    assert shape == ["batch", 2, 3, "height", "width"]
    assert "agnn.onnx: is there already" in refused(capsys, *words)


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_torchvision_loads_the_residual_layers(
    suffix: str, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / f"resnet18.{suffix}"
    words = ["--weights", weights / "phi.safetensors", "--to", "torchvision", "--out", out]
    assert main(["export", *map(str, words)]) == 0
    said = capsys.readouterr().out
    assert "torchvision.models.resnet18() by load_state_dict(..., strict=False)" in said
    assert "without weights in layer3, layer4, fc" in said
    phi = load_weights(weights / "phi.safetensors")[0].phi
    if suffix == "pth":
        resnet = torchvision.models.resnet18().eval()
        left = resnet.load_state_dict(torch.load(out, weights_only=True), strict=False)
        assert not left.unexpected_keys and {key.split(".")[0] for key in left.missing_keys} == {
            "layer3",
            "layer4",
            "fc",
        }
        frames = torch.rand(1, 3, 40, 56)
        with torch.no_grad():
            x = resnet.maxpool(resnet.relu(resnet.bn1(resnet.conv1((frames - phi.mean) / phi.std))))
            torch.testing.assert_close(phi.project(resnet.layer2(resnet.layer1(x))), phi.levels(frames)[2])
    before = phi.resnet.layer1[0].conv1.weight.clone()
    nn.init.zeros_(phi.resnet.layer1[0].conv1.weight)
    load_torchvision(phi, out)
    assert torch.equal(phi.resnet.layer1[0].conv1.weight, before)


def test_recurrent_systems_give_their_trunk(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--weights", weights / "rvos.safetensors", "--to")
    assert "is not one for programs" in refused(capsys, *words, "torch-export", "--out", tmp_path / "rvos.pt2")
    assert main(["export", *map(str, words), "torchvision", "--out", str(tmp_path / "rvos.pth")]) == 0


@pytest.mark.parametrize("depth", [18, 50, 152])
def test_the_depth_of_a_resnet_is_found(depth: int) -> None:
    with torch.device("meta"):
        network = torchvision.models.get_model(f"resnet{depth}")
    del network.fc
    (found,) = residual_layers(nn.Sequential(network))
    assert found.name == f"resnet{depth}" and found.missing == ["fc"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--to onnx --out phi.pt2", "--out phi.pt2: --to onnx writes .onnx; name the file so"),
        ("--to torchvision --out phi.onnx", "--out phi.onnx: --to torchvision writes .pth or .safetensors"),
        (
            "--to torch-export --out x.pt2 --part agnn",
            "PHI has none of this name; give phi or propagation",
        ),
        ("--to torch-export --out x.pt2 --frames 3", "--frames: is no size of this part, but batch, height, width"),
        ("--to torch-export --out x.pt2 --height 8", "--height 8: is too small; give 32 or more"),
        ("--to torchvision --out x.pth --batch 3", "--batch: has no effect here"),
        ("--to tflite --out x", "--to: 'tflite' will not do; it takes onnx, torch-export, torchvision"),
        ("--to torchvision --out x.pth --weights hcpn.safetensors", "hcpn.safetensors: its network has 3 ResNets"),
        ("--to torchvision --out x.pth --weights no.safetensors", "no.safetensors: no such file"),
    ],
)
def test_what_cannot_be_exported_is_one_line(
    words: str, says: str, weights: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(weights)
    before = sorted(weights.iterdir())
    known = [] if "--weights" in words else ["--weights", "phi.safetensors"]
    assert says.replace("PHI", "phi.safetensors") in refused(capsys, *words.split(), *known)
    assert sorted(weights.iterdir()) == before


def test_a_program_that_differs_is_not_kept(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(part: Part, path: Path) -> None:
        path.touch()

    wrong = Writer(write, lambda _: lambda frames: [torch.zeros(1, 1, 1, 1)] * 3)
    monkeypatch.setitem(export.WRITERS, "torch-export", wrong)
    words = ("--weights", weights / "phi.safetensors", "--to", "torch-export", "--out", tmp_path / "phi.pt2")
    assert "phi.pt2: the program differs from the network by" in refused(capsys, *words, status=1)
    assert not list(tmp_path.iterdir())


def test_a_network_that_cannot_be_traced_is_one_line(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(part: Part, path: Path) -> None:
        raise RuntimeError("an operator is missing\nand much more")

    monkeypatch.setitem(export.WRITERS, "torch-export", Writer(write, open_torch))
    words = ("--weights", weights / "phi.safetensors", "--to", "torch-export", "--out", tmp_path / "phi.pt2")
    said = refused(capsys, *words, status=1)
    assert said == "mug: error: phi.pt2: the network cannot be exported (an operator is missing); --verbose shows more"
    assert not list(tmp_path.iterdir())
