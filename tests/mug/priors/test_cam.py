"""Class activation maps against the equation written out, and the weights files that are refused."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from mug.errors import InputError
from mug.priors.cam import DEVIATION, MEAN, cam_prior, class_activation, load_classifier
from mug.video import open_video


@pytest.fixture(scope="module")
def resnet_file(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("cam") / "resnet18.pt"
    torch.save(torchvision.models.resnet18(num_classes=7).state_dict(), path)
    return path


@pytest.mark.parametrize(("arch", "classes"), [("resnet18", 1), ("densenet121", 3)])
def test_map_is_weights_times_features(arch, classes):
    """M_c(x, y) = sum_k w_k^c f_k(x, y); the features are caught by a hook on the classifier's own pooling."""
    torch.manual_seed(1)
    model = torchvision.models.get_model(arch, num_classes=7).double().eval()
    image = torch.rand(1, 3, 64, 96, dtype=torch.float64)
    caught = {}
    last = model.layer4 if arch.startswith("resnet") else model.features
    last.register_forward_hook(lambda module, inputs, output: caught.update(features=output.clone()))
    with torch.inference_mode():
        mean, deviation = (torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in (MEAN, DEVIATION))
        probability = model((image - mean) / deviation)[0].softmax(dim=0).numpy()
    features = caught["features"][0].clamp(min=0).numpy()
    weight = (model.fc if arch.startswith("resnet") else model.classifier).weight.detach().numpy()
    expected = np.zeros(features.shape[1:])
    for c in np.argsort(-probability)[:classes]:
        total = np.zeros(features.shape[1:])
        for k in range(len(features)):
            total += weight[c, k] * features[k]
        expected += probability[c] * np.maximum(total, 0)
    expected = (expected - expected.min()) / (expected.max() - expected.min())
    np.testing.assert_allclose(class_activation(model, image, classes).numpy(), expected, atol=1e-6)


def test_maps_of_a_video(tmp_path, resnet_file):
    rng = np.random.default_rng(0)
    for t in range(3):
        Image.fromarray(rng.integers(0, 255, (64, 90, 3), dtype=np.uint8)).save(tmp_path / f"{t}.png")
    maps = list(cam_prior(open_video(tmp_path), [0, 2], resnet_file, "resnet18"))
    assert [soft.shape for soft in maps] == [(64, 90)] * 2
    assert maps[0].dtype == np.uint8 and maps[0].min() < 64 and maps[0].max() > 192


def test_refused_weights(tmp_path, resnet_file):
    def refuse(match: str, path=resnet_file, arch: str = "resnet18") -> None:
        with pytest.raises(InputError, match=match):
            load_classifier(path, arch)

    refuse("no such weights file", tmp_path / "absent.pt")
    refuse("no plain state dict", tmp_path)
    refuse("no torchvision ResNet or DenseNet", arch="vgg16")
    refuse("does not fit a torchvision resnet34", arch="resnet34")
    text, code, other, bad = (tmp_path / name for name in ("text.pt", "code.pt", "other.pt", "nan.pt"))
    text.write_text("no weights")
    refuse("no plain state dict", text)
    code.write_bytes(pickle.dumps({"fc.weight": np.zeros((2, 2))}))
    refuse("no plain state dict", code)
    torch.save({"conv1.weight": torch.zeros(1)}, other)
    refuse("holds no classifier", other)
    state = torch.load(resnet_file, weights_only=True)
    state["conv1.weight"][0, 0, 0, 0] = float("nan")
    torch.save(state, bad)
    refuse("not finite", bad)
