"""Image classifiers of torchvision and timm, split into features and head for class activation maps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mug.errors import InputError
from mug.networks.named import build_network
from mug.networks.names import IMAGENET
from mug.networks.tensors import read_tensors, without_prefix
from mug.networks.weights import load_into


class Classifier(NamedTuple):
    """A network that averages its last feature map and classifies the mean."""

    features: Callable[[Tensor], Tensor]
    """Maps an image (1, 3, H, W), RGB in [0, 1], to the feature map (1, C, h, w) before averaging."""
    head: Callable[[Tensor], Tensor]
    """Maps feature vectors (n, C) to logits (n, classes)."""


def open_classifier(name: str, weights: Path | None = None) -> Classifier:
    """Opens a classifier of torchvision or timm with the weights of a file, which sets the number of classes.

    Args:
        name: `imagenet`, which has its own weights, `torchvision:NAME` or `timm:NAME`.
        weights: A state dict including the classification layer.

    Raises:
        InputError: the network is unknown or does not average a feature map, or its weights are missing or do not fit.
    """
    module, mean, std = build_network(name)
    if name == IMAGENET and weights is not None:
        raise InputError(f"{name}: brings its own weights; leave the file out, or name the network it is of")
    if name != IMAGENET:
        if weights is None:
            raise InputError(f"{name}: needs its weights, nothing is downloaded; give the file of its state dict")
        last = next((key for key, m in reversed(list(module.named_modules())) if isinstance(m, nn.Linear)), "")
        rows = without_prefix(read_tensors(weights), module.state_dict()).get(f"{last}.weight")
        if rows is None:
            raise InputError(f"{weights}: holds no classifier ({last}.weight); give the state dict of a {name}")
        module = build_network(name, len(rows)).module
        load_into(module, weights, name)
    shift, scale = (torch.tensor(values).view(1, 3, 1, 1) for values in (mean, std))
    features, head = _timm_halves(module) if hasattr(module, "forward_features") else _torchvision_halves(name, module)
    _try_out(name, features, head)
    return Classifier(lambda image: features((image - shift) / scale), head)


Halves = tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]


def _timm_halves(module: Any) -> Halves:
    return module.forward_features, lambda x: module.forward_head(x[:, :, None, None])


def _torchvision_halves(name: str, module: nn.Module) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    children = dict(module.named_children())
    pool = next((key for key, child in children.items() if isinstance(child, nn.AdaptiveAvgPool2d)), None)
    if name.startswith("torchvision:densenet"):  # averages without a pooling module
        return nn.Sequential(children["features"], nn.ReLU()), children["classifier"]
    if pool is None:
        raise _no_map(name)
    after = nn.Sequential(*list(children.values())[list(children).index(pool) + 1 :])
    flat = not any(isinstance(m, nn.Flatten) for m in after.modules())

    def features(image: Tensor) -> Tensor:
        seen: list[Tensor] = []
        hook = children[pool].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        module(image)
        hook.remove()
        return seen[0]

    return features, lambda x: after(x if flat else x[:, :, None, None])


@torch.inference_mode()
def _try_out(name: str, features: Callable[[Tensor], Tensor], head: Callable[[Tensor], Tensor]) -> None:
    """Rejects networks without a feature map, or whose head does not take the mean of one."""
    try:
        map_bchw = features(torch.zeros(1, 3, 224, 288))
        fits = map_bchw.ndim == 4 and head(map_bchw.mean((2, 3))).ndim == 2
    except (RuntimeError, AssertionError, TypeError, ValueError):
        fits = False
    if not fits:
        raise _no_map(name)


def _no_map(name: str) -> InputError:
    return InputError(
        f"{name}: does not classify the average of a feature map, so it has no class activation maps; "
        "give a convolutional network such as torchvision:resnet50"
    )
