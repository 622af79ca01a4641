"""`--backbone` on the command line: networks of torchvision by name, a user's own function."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

import downstream.calibrate
from downstream.backbones import by_name as backbones
from downstream.backbones.by_name import open_backbone
from mug.cli import main
from mug.errors import InputError
from mug.networks.named import IMAGENET_PACKAGE
from tests.downstream.backbones.networks import RESNET, FakeTransformer, frame, tiny_vit

OWN = """
import torch.nn.functional as F


def colours(weights=None):
    return lambda frame: F.avg_pool2d(frame, 8) - (0.5 if weights is None else 0.4)


def flat():
    return lambda frame: frame.mean((2, 3))


number = 3


def nothing():
    return None
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_features.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "own_features", raising=False)


def propagate(root: Path, out: Path, *arguments: object) -> int:
    size = [] if "--preset" in arguments else ["--size", "48"]
    return main(["propagate", str(root), "--out", str(out), "--device", "cpu", *size, *(str(a) for a in arguments)])


def test_ones_own_function(own_module: None, moving_squares: Callable[..., Path], tmp_path: Path) -> None:
    root = moving_squares(videos=1, frames=4)
    arguments = ("--backbone", "own_features:colours", "--temperature", "0.01")
    assert propagate(root, tmp_path / "out", *arguments) == 0
    assert len(list((tmp_path / "out" / "square0").iterdir())) == 4
    backbone = open_backbone("own_features:colours", Path("some.file"))
    assert torch.allclose(backbone.extract(torch.full((1, 3, 16, 16), 0.4)), torch.zeros(1, 3, 2, 2), atol=1e-5)


def test_a_named_network_follows_a_square(
    moving_squares: Callable[..., Path], tmp_path: Path, resnet_file: Path
) -> None:
    root = moving_squares(videos=1, frames=3)
    arguments = ("--backbone", RESNET, "--weights", resnet_file, "--temperature", "0.01")
    assert propagate(root, tmp_path / "out", *arguments, "--preset", "crw") == 0
    truth = np.asarray(Image.open(root / "Annotations" / "480p" / "square0" / "00002.png")) == 1
    result = np.asarray(Image.open(tmp_path / "out" / "square0" / "00002.png")) == 1
    assert (truth & result).sum() / (truth | result).sum() > 0.4


def test_temperature_of_another_backbone(
    resnet_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downstream.calibrate, "CLIP_SIZE", (48, 64))
    monkeypatch.setattr(downstream.calibrate, "CLIP_FRAMES", 3)
    before = resnet_file.read_bytes()
    arguments = ["--backbone", RESNET, "--preset", "dino", "--device", "cpu", "--clips", "1"]
    assert main(["calibrate", str(resnet_file), *arguments]) == 0
    assert "<- --temperature " in capsys.readouterr().out
    assert resnet_file.read_bytes() == before


BAD_NAMES = {
    "resnet18": "is not understood",
    "torchvision:resnet17": "did you mean resnet18",
    "torchvision:resnet18:layer9": "has no module layer9",
    "torchvision:squeezenet1_0": "torchvision:squeezenet1_0:LAYER; its modules are features, classifier",
    "torchvision:squeezenet1_0:features.12": "cannot be brought to 8 pixels",
    "torchvision:resnet18:fc": "no map",
    "torchvision:swin_t:features.1": "no map",
    "no_such_module_:f": "no module no_such_module_",
    "own_features:missing": "has no function missing",
    "own_features:number": "has no function number",
    "own_features:nothing": "gave NoneType",
    "own_features:flat": "(1, C, h, w)",
}


@pytest.mark.parametrize("name", BAD_NAMES)
def test_bad_names_are_one_line(
    own_module: None,
    moving_squares: Callable[..., Path],
    tmp_path: Path,
    resnet_file: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    root = moving_squares(videos=1, frames=2)
    weights = ["--weights", resnet_file] if name.startswith("torchvision") else []
    assert propagate(root, tmp_path / "out", "--backbone", name, *weights) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert BAD_NAMES[name] in lines[0]


def test_weights_are_never_random_by_mistake(
    moving_squares: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert propagate(moving_squares(videos=1, frames=2), tmp_path / "out", "--backbone", RESNET) == 2
    assert "--weights" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_default_layers_are_modules_of_their_networks() -> None:
    networks = [torchvision.models.resnet18(), tiny_vit(), FakeTransformer()]
    found = [next(d for d in backbones.DEFAULT_LAYERS if d in dict(n.named_modules())) for n in networks]
    assert found == ["layer3", "encoder.ln", "norm"]


@pytest.mark.skipif(
    find_spec(IMAGENET_PACKAGE) is None or find_spec("timm") is None, reason="needs the extra `imagenet`"
)
def test_imagenet_brings_its_weights(tmp_path: Path) -> None:
    extract = open_backbone("imagenet", None, stride=8).extract
    assert extract(frame(64, 96)).shape == (1, 112, 8, 12)
    with pytest.raises(InputError, match="brings its own weights"):
        open_backbone("imagenet", tmp_path / "any.pth")
    assert open_backbone("imagenet:blocks.2", None).extract(frame(64, 96)).shape[1] == 40
