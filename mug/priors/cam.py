"""Class activation maps of an image classifier (Zhou et al., CVPR 2016): the weakly supervised prior."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mug.errors import InputError
from mug.priors.consensus import bend, otsu, to_bytes, unit_range
from mug.video import Video

MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
SHORTER_SIDE = 320
"""Frames are shrunk to it, so that a map has about 10 cells on its shorter side."""


def cam_prior(
    video: Video, indices: Sequence[int] | None, weights: Path, arch: str = "resnet50", classes: int = 1
) -> Iterator[np.ndarray]:
    """Soft foreground maps of single frames, HW uint8 at the video's size; 0.5 is each map's Otsu threshold.

    Args:
        video: The video.
        indices: Frames that maps are wanted of; all when None.
        weights: State dict of the torchvision classifier.
        arch: Its name in torchvision: one of the ResNets or DenseNets.
        classes: The maps of so many likeliest classes are added, each times its probability.

    Raises:
        InputError: the file does not hold such a classifier.
    """
    import cv2

    model = load_classifier(weights, arch)
    height, width = video.size
    for index in range(len(video)) if indices is None else indices:
        image = torch.from_numpy(np.array(video[index])).permute(2, 0, 1)[None].float() / 255
        cells = class_activation(model, image, classes).numpy()
        cells = bend(cells, otsu(cells)).astype(np.float32)
        yield to_bytes(cv2.resize(cells, (width, height), interpolation=cv2.INTER_LINEAR))


def load_classifier(weights: Path, arch: str) -> nn.Module:
    """A torchvision ResNet or DenseNet in eval mode with the weights of a file; its number of classes is the file's.

    Raises:
        InputError: unknown architecture, or the file is missing or does not fit it.
    """
    import torchvision

    if not arch.startswith(("resnet", "resnext", "wide_resnet", "densenet")) or not hasattr(torchvision.models, arch):
        raise InputError(f"{arch}: is no torchvision ResNet or DenseNet; name one, such as resnet50 or densenet169")
    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise InputError(f"{weights}: no such weights file; give the state dict of a torchvision {arch}") from error
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise InputError(f"{weights}: is no plain state dict; save the one of a torchvision {arch}") from error
    last = state.get("fc.weight", state.get("classifier.weight")) if isinstance(state, dict) else None
    if not isinstance(last, Tensor) or last.ndim != 2:
        raise InputError(f"{weights}: holds no classifier; give the state dict of a torchvision {arch}")
    model: nn.Module = torchvision.models.get_model(arch, weights=None, num_classes=len(last))
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(f"{weights}: does not fit a torchvision {arch}; name the one it was trained as") from error
    if not all(bool(torch.isfinite(value).all()) for value in state.values() if value.is_floating_point()):
        raise InputError(f"{weights}: holds values that are not finite; fetch or train it again")
    return model.eval()


@torch.inference_mode()
def class_activation(model: nn.Module, image: Tensor, classes: int = 1) -> Tensor:
    """Map of the likeliest classes (Zhou et al. Eq. 2): sum over channels of a class's weights times the features.

    Args:
        model: A torchvision ResNet or DenseNet.
        image: (1, 3, H, W) RGB in [0, 1].
        classes: The maps of so many likeliest classes are added, each cut at 0, times its probability.

    Returns:
        (h, w) in [0, 1] at the grid of the last features.
    """
    if min(image.shape[-2:]) > SHORTER_SIDE:
        scale = SHORTER_SIDE / min(image.shape[-2:])
        image = functional.interpolate(image, scale_factor=scale, mode="bilinear", antialias=True)
    mean, deviation = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, DEVIATION))
    features = last_features(model, (image - mean) / deviation)[0]
    head = next(child for child in reversed(list(model.children())) if isinstance(child, nn.Linear))
    probability = head(features.mean(dim=(1, 2))).softmax(dim=0)
    share, best = probability.topk(min(classes, len(probability)))
    maps = torch.einsum("kc,chw->khw", head.weight[best], features).clamp(min=0)
    return torch.from_numpy(unit_range(torch.einsum("k,khw->hw", share, maps).numpy()))


def last_features(model: nn.Module, image: Tensor) -> Tensor:
    """(1, C, h, w) features that a torchvision ResNet or DenseNet averages and classifies."""
    if isinstance(model.get_submodule("features") if hasattr(model, "features") else None, nn.Module):
        return functional.relu(model.get_submodule("features")(image))
    for name, child in model.named_children():
        if name == "avgpool":
            break
        image = child(image)
    return image
