"""Networks of timm, with and without timm."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from downstream.backbones.by_name import named_network, open_backbone
from mug.errors import InputError
from tests.downstream.backbones.networks import FakeTransformer, frame


@pytest.fixture
def fake_timm(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A module in the place of timm, and the arguments its model was made with."""
    made: dict[str, Any] = {}
    timm: Any = ModuleType("timm")

    def create_model(name: str, **arguments: Any) -> nn.Module:
        if "dynamic_img_size" in arguments and name == "convolution":
            raise TypeError("unexpected keyword argument")
        made.update(arguments, name=name)
        torch.manual_seed(0)
        return FakeTransformer()

    timm.create_model = create_model
    timm.list_models = lambda: ["transformer", "convolution"]
    timm.is_model = lambda name: name in timm.list_models()
    monkeypatch.setitem(sys.modules, "timm", timm)
    return made


def test_a_timm_transformer(fake_timm: dict[str, Any]) -> None:
    features = named_network("timm:transformer.dino", None)
    assert fake_timm == {"name": "transformer.dino", "pretrained": False, "dynamic_img_size": True}
    assert "head.weight" in features.unused
    out = features(frame(60, 91))
    assert out.shape == (1, 8, 8, 12)
    assert float(out.max()) < 50  # class and register tokens hold 100
    network = FakeTransformer()
    network.load_state_dict(
        features.network.state_dict() | {"head.weight": torch.ones(10, 8), "head.bias": torch.ones(10)}
    )
    patch = (frame(60, 91)[:, :, 8:16, 16:24] - 0.5) / 0.5  # timm's own mean and deviation
    assert torch.allclose(out[0, :, 1, 2], network.patch_embed(patch).flatten(), atol=1e-5)


def test_a_timm_network_that_knows_no_sizes(fake_timm: dict[str, Any]) -> None:
    named_network("timm:convolution", None)
    assert "dynamic_img_size" not in fake_timm


def test_timm_itself(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm", reason="timm is not installed")
    torch.manual_seed(0)
    network = timm.create_model("vit_tiny_patch16_224", dynamic_img_size=True).eval()
    torch.save({"teacher": {f"backbone.{k}": x for k, x in network.state_dict().items()}}, tmp_path / "vit.pth")
    features = open_backbone("timm:vit_tiny_patch16_224", tmp_path / "vit.pth").extract(frame(60, 90))
    assert features.shape == (1, 192, 4, 6)
    mean, std = (torch.tensor(network.pretrained_cfg[key]).view(3, 1, 1) for key in ("mean", "std"))
    padded = F.pad((frame(60, 90) - mean) / std, (0, 6, 0, 4), mode="replicate")
    with torch.no_grad():
        expected = network.forward_features(padded)[:, 1:].transpose(1, 2).reshape(1, 192, 4, 6)
    assert torch.allclose(features, expected, atol=1e-4)


def test_timm_that_is_not_there(monkeypatch: pytest.MonkeyPatch, resnet_file: Path) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match=r"pip install 'mug-vos\[timm\]'"):
        open_backbone("timm:resnet18", resnet_file)
