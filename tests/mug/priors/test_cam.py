"""Class activation maps against the equation written out, and one opinion about a whole video."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import Tensor

from mug.media.video import open_video
from mug.networks.classifier import Classifier, open_classifier
from mug.networks.named import IMAGENET_PACKAGE
from mug.networks.names import IMAGENET
from mug.priors.cam import CLASSES, as_image, cam_prior, class_activation, class_shares


@pytest.mark.parametrize("arch", ["resnet18", "densenet121"])
def test_map_is_weights_times_features(tmp_path: Path, arch: str) -> None:
    """M_c(x, y) = sum_k w_k^c f_k(x, y); the features are caught by a hook on the classifier's own pooling."""
    torch.manual_seed(1)
    model = torchvision.models.get_model(arch, num_classes=7).eval()
    torch.nn.init.normal_((model.fc if arch == "resnet18" else model.classifier).bias)  # has no part in the map
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    classifier = open_classifier(f"torchvision:{arch}", tmp_path / "weights.pth")
    images = [torch.rand(1, 3, 64, 96) for _ in range(2)]
    with torch.inference_mode():
        features = [classifier.features(image)[0].double().numpy() for image in images]
    head = model.fc if arch == "resnet18" else model.classifier
    weight, bias = head.weight.detach().double().numpy(), head.bias.detach().double().numpy()
    logits = np.stack([weight @ f.mean((1, 2)) + bias for f in features])
    likely = np.exp(logits - logits.max(1, keepdims=True))
    likely = (likely / likely.sum(1, keepdims=True)).mean(0)
    best = np.argsort(-likely)[:CLASSES]
    expected = np.zeros(features[0].shape[1:])
    for c in best:
        total = sum(weight[c, k] * features[0][k] for k in range(len(features[0])))
        expected += likely[c] * np.maximum(total, 0)
    expected = (expected - expected.min()) / (expected.max() - expected.min())
    share = class_shares(classifier, images)
    np.testing.assert_allclose(share[torch.from_numpy(best.copy())], likely[best], rtol=1e-4)
    assert (share > 0).sum() == CLASSES
    np.testing.assert_allclose(class_activation(classifier, images[0], share).numpy(), expected, atol=1e-4)


class Red:
    """Knows one class: what is redder than the rest."""

    @staticmethod
    def features(image: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool2d(image, 32)

    @staticmethod
    def head(cells: Tensor) -> Tensor:
        red = cells[:, :1] - cells[:, 1:].mean(1, keepdim=True)
        return torch.cat([9 * red, 0 * red], 1)


def two_squares(folder: Path) -> Path:
    """A red square that rests and a green one that moves, on a textured ground."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    ground = np.repeat(np.repeat(rng.integers(90, 130, (12, 20, 3)), 10, 0), 10, 1).astype(np.uint8)
    for t in range(8):
        frame = ground.copy()
        frame[20:60, 20:60] = [220, 30, 30]
        frame[60:100, 90 + 5 * t : 130 + 5 * t] = [30, 200, 30]
        Image.fromarray(frame).save(folder / f"{t:05d}.png")
    return folder


def test_the_classifier_decides_what_is_foreground(tmp_path: Path) -> None:
    video = open_video(two_squares(tmp_path / "v"))
    classifier = Classifier(Red.features, Red.head)
    maps = list(cam_prior(video, [2, 5], classifier))
    assert [m.shape for m in maps] == [(120, 200)] * 2 and maps[0].dtype == np.uint8
    assert all(m[30:50, 30:50].mean() > 200 for m in maps)  # red
    assert all(m[70:90, 120:130].mean() < 100 for m in maps)  # green
    joined = list(cam_prior(video, [2, 5], classifier, moving=True))
    assert all(m[30:50, 30:50].mean() < 100 for m in joined)  # rests
    assert all(m[65:95, 120:130].mean() > 128 for m in joined)  # moves, and is no class: no veto


@pytest.mark.skipif(
    find_spec(IMAGENET_PACKAGE) is None or find_spec("timm") is None, reason="needs the extra `imagenet`"
)
def test_a_black_swan_is_found(real_data: Path) -> None:
    folder = real_data / "davis16-dev" / "JPEGImages" / "480p" / "blackswan"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    video = open_video(folder)
    share = class_shares(open_classifier(IMAGENET), [as_image(video[i], 224) for i in (0, 25)])
    first, second = share.topk(2).values
    assert int(share.argmax()) == 100 and first > 10 * second
