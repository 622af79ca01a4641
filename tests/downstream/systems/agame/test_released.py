"""The authors' weights of A-GAME: a made state dict with their names, against what their network computes from it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor

from downstream.systems.agame.network import FORMAT
from downstream.systems.agame.released import released
from mug.cli import main
from mug.errors import InputError

FEATURES, WIDTH, FINE = 6, 8, 5


@pytest.fixture(scope="module")
def theirs() -> dict[str, Tensor]:
    """A state dict as their training writes it, of a smaller network."""
    torch.manual_seed(0)
    backbone = torchvision.models.resnet50(weights=None)
    tensors = {f"backbone.{name}": x for name, x in backbone.state_dict().items()}
    shapes = {
        "appmod.conv_in": (FEATURES, 2048, 1),
        "dynmod.layers.layer00.conv": (WIDTH, 2 * 2048 + 4, 1),
        "dynmod.layers.layer01.conv0": (WIDTH, WIDTH, 3),
        "dynmod.layers.layer01.conv1": (WIDTH, WIDTH, 3),
        "dynmod.layers.layer01.conv2": (WIDTH, WIDTH, 3),
        "dynmod.layers.layer02.conv": (WIDTH, 3 * WIDTH, 3),
        "fusmod.layers.layer00.conv": (WIDTH, 4 + WIDTH, 3),
        "fusmod.layers.layer01.conv": (FINE, WIDTH, 3),
        "fusmod.predictor.layer00.conv": (2, FINE, 1),
        "segmod.project_s8.conv": (FINE, 512, 1),
        "segmod.blend_s8.conv": (FINE, 2 * FINE, 3),
        "segmod.project_s4.conv": (FINE, 256, 1),
        "segmod.blend_s4.conv": (FINE, 2 * FINE, 3),
        "segmod.predictor.conv": (2, FINE, 3),
    }
    for name, (out, channels, kernel) in shapes.items():
        tensors[f"{name}.weight"] = torch.randn(out, channels, kernel, kernel) / (channels * kernel**2) ** 0.5
        tensors[f"{name}.bias"] = torch.randn(out) / 10
    tensors["appmod.cov_reg"] = torch.randn(4, 1, FEATURES, 1, 1) - 1
    return {f"trackseg.{name}": x for name, x in tensors.items()}


class Theirs:
    """What their code computes. Masks and scores are of background and object, (1, 2, h, w)."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.tensors = {name.removeprefix("trackseg."): x.double() for name, x in tensors.items()}
        self.backbone = torchvision.models.resnet50(weights=None, replace_stride_with_dilation=[False, False, True])
        own = {name.removeprefix("backbone."): x for name, x in self.tensors.items() if name.startswith("backbone.")}
        self.backbone.load_state_dict(own)
        self.backbone.double().eval()

    def conv(self, name: str, x: Tensor, rate: int = 1) -> Tensor:
        kernel = self.tensors[f"{name}.weight"]
        reach = rate * (kernel.shape[-1] // 2)
        return F.conv2d(x, kernel, self.tensors[f"{name}.bias"], padding=reach, dilation=rate)

    def features(self, frame: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        net = self.backbone
        mean, std = (torch.tensor(v).view(3, 1, 1).double() for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
        s4 = net.layer1(net.maxpool(net.relu(net.bn1(net.conv1((frame - mean) / std)))))
        s8 = net.layer2(s4)
        return s4, s8, net.layer4(net.layer3(s8))

    def parameters(self, x: Tensor, seg: Tensor) -> list[tuple[Tensor, Tensor]]:
        regular = F.softplus(self.tensors["appmod.cov_reg"])
        positions = x.shape[2] * x.shape[3]

        def pair(weight: Tensor, k: int) -> tuple[Tensor, Tensor]:
            share = 1 / positions + weight.mean()
            mean = (x * weight).mean((2, 3), keepdim=True) / share
            return mean, regular[k] + ((x - mean) ** 2 * weight).mean((2, 3), keepdim=True) / share

        base = [pair(seg[:, k : k + 1], k) for k in (0, 1)]
        residual = F.relu(self.scores(x, base).softmax(1) - seg)
        return base + [pair(residual[:, k : k + 1], 2 + k) for k in (0, 1)]

    def scores(self, x: Tensor, theta: list[tuple[Tensor, Tensor]]) -> Tensor:
        each = [-0.5 * (v.log() + (x - m) ** 2 / v).sum(1, keepdim=True) for m, v in theta]
        return torch.cat(each, 1)

    def __call__(self, first: Tensor, frame: Tensor, given: Tensor, previous: Tensor) -> tuple[Tensor, Tensor]:
        """Both masks' scores, of background and object."""
        deep0 = self.features(first)[2]
        s4, s8, deep = self.features(frame)
        theta = self.parameters(self.conv("appmod.conv_in", deep0), given)
        scores = self.scores(self.conv("appmod.conv_in", deep), theta)
        h = self.conv("dynmod.layers.layer00.conv", torch.cat([deep, deep0, previous, given], 1)).relu()
        h = torch.cat([self.conv(f"dynmod.layers.layer01.conv{i}", h, rate) for i, rate in enumerate((1, 3, 6))], 1)
        h = self.conv("dynmod.layers.layer02.conv", h.relu()).relu()
        h = self.conv("fusmod.layers.layer00.conv", torch.cat([scores, h], 1)).relu()
        h = self.conv("fusmod.layers.layer01.conv", h).relu()
        coarse = self.conv("fusmod.predictor.layer00.conv", h)
        for level, skip in (("s8", s8), ("s4", s4)):
            side = self.conv(f"segmod.project_{level}.conv", skip).relu()
            h = torch.cat([side, F.interpolate(h, scale_factor=2, mode="bilinear", align_corners=False)], 1)
            h = self.conv(f"segmod.blend_{level}.conv", h).relu()
        return coarse, self.conv("segmod.predictor.conv", h)


@torch.no_grad()
def test_our_network_computes_what_theirs_does(theirs: dict[str, Tensor]) -> None:
    made = released(theirs)
    net = made.network.double()
    frames = torch.rand(2, 1, 3, 64, 96, dtype=torch.float64)
    y, previous = torch.rand(2, 1, 1, 64, 96, dtype=torch.float64)
    state = net.begin(net.see(frames[0]), y)
    state = state._replace(mask=net.on_grid(previous, net.see(frames[0])))
    coarse, final = net.step(net.see(frames[1]), state)
    pooled = [F.avg_pool2d(torch.cat([1 - m, m], 1), 16) for m in (y, previous)]
    expected = Theirs(theirs)(frames[0], frames[1], *pooled)
    for found, scores in zip((coarse, final), expected, strict=True):
        torch.testing.assert_close(found.sigmoid(), scores.softmax(1)[:, 1:])
        assert found.std() > 0


def test_every_tensor_is_accounted_for(theirs: dict[str, Tensor]) -> None:
    made = released(theirs)
    left = {name for name in theirs if name not in made.names}
    assert left == {"trackseg.backbone.fc.weight", "trackseg.backbone.fc.bias"}
    ours = [name for names in made.names.values() for name in names.split(", ")]
    assert sorted(ours) == sorted(made.network.state_dict())


def test_the_command_writes_weights_that_load(
    theirs: dict[str, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"epoch": 100, "net": theirs}, tmp_path / "theirs.pth")
    assert main(["convert", "agame", str(tmp_path / "theirs.pth"), "--out", str(tmp_path / "agame.safetensors")]) == 0
    said = capsys.readouterr().out
    assert "trackseg.appmod.cov_reg (4, 1, 6, 1, 1) -> appearance.floor" in said
    assert "trackseg.backbone.fc.weight (1000, 2048) -> left out" in said
    network, metadata = FORMAT.load(tmp_path / "agame.safetensors")
    assert (network.config.channels, network.config.trunk.depth, network.config.trunk.stride) == (FEATURES, 50, 16)
    assert "theirs.pth" in metadata["training"]


@pytest.mark.parametrize("fault", ["another network", "a tensor is missing", "another shape", "three components"])
def test_what_is_not_theirs_is_refused(theirs: dict[str, Tensor], fault: str) -> None:
    tensors = dict(theirs)
    if fault == "another network":
        tensors = {name.removeprefix("trackseg.backbone."): x for name, x in tensors.items()}
    elif fault == "a tensor is missing":
        del tensors["trackseg.segmod.blend_s4.conv.bias"]
    elif fault == "another shape":
        tensors["trackseg.dynmod.layers.layer02.conv.weight"] = torch.zeros(WIDTH, WIDTH, 3, 3)
    else:
        tensors["trackseg.appmod.cov_reg"] = torch.zeros(3, 1, FEATURES, 1, 1)
    with pytest.raises(InputError, match="A-GAME"):
        released(tensors)
