"""Backbones by name (`--backbone`): phi, a network of torchvision or timm, or a user's function."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from downstream.backbones.features import Extractor, PhiFeatures
from downstream.backbones.layer import LayerFeatures
from downstream.backbones.names import OURS
from mug.checkpoint import load_weights
from mug.errors import InputError
from mug.model import MuG
from mug.networks.named import build_network
from mug.networks.names import IMAGENET
from mug.networks.weights import load_into

FORMS = f"{OURS}, {IMAGENET}, torchvision:NAME[:LAYER], timm:NAME[:LAYER] or your_module:your_function"
LIBRARIES = ("torchvision", "timm")

TEMPERATURE_KEY = "one_shot_temperature"
"""Metadata key of the calibrated matching temperature, written by `mug calibrate`."""


class Backbone(NamedTuple):
    """A feature extractor for matching, with its temperature."""

    extract: Extractor
    temperature: float | None
    """Matching temperature that suits the features; None if the weights do not name one."""


def open_backbone(
    name: str, weights: Path | None, device: torch.device | str = "cpu", stride: int | None = None
) -> Backbone:
    """Opens the backbone of `--backbone NAME --weights FILE` on a device.

    Args:
        name: `mug`; `imagenet[:LAYER]` (see `mug.networks.named`), `torchvision:NAME[:LAYER]` or `timm:NAME[:LAYER]`,
            LAYER being a name in `named_modules()`; or `module:function`, a function that returns an
            `Extractor` and is called with the path of the weights if one is given.
        weights: Weights file. None: the packaged weights for `mug`, an error for torchvision and timm networks, no
            argument for your own function.
        device: Device of the frames.
        stride: Output stride in pixels to which a named convolutional network is reduced; None leaves it unchanged.

    Raises:
        InputError: there is no such backbone, or the weights do not belong to it.
    """
    if name == OURS:
        model, metadata = load_weights(weights)
        return Backbone(PhiFeatures(model.phi.to(device).eval()), suited_temperature(model, metadata))
    kind, _, rest = name.partition(":")
    if kind == IMAGENET:
        if weights is not None:
            raise InputError(f"--backbone {name}: brings its own weights; leave out --weights")
        return Backbone(named_network(name, None, stride).to(device), None)
    if not rest:
        raise InputError(f"--backbone {name}: is not understood; give {FORMS}")
    if kind not in LIBRARIES:
        return Backbone(_own(kind, rest, weights, device), None)
    if weights is None:
        raise InputError(f"--backbone {name}: needs its weights, nothing is downloaded; give a file with --weights")
    return Backbone(named_network(name, weights, stride).to(device), None)


def suited_temperature(model: MuG, metadata: Mapping[str, str]) -> float:
    """The calibrated temperature of the weights, else the one learned with the matching head."""
    return float(metadata.get(TEMPERATURE_KEY, model.temperature.detach()))


def named_network(name: str, weights: Path | None, stride: int | None = None) -> LayerFeatures:
    """A layer of a torchvision or timm network.

    Args:
        name: `torchvision:NAME[:LAYER]`, `timm:NAME[:LAYER]` or `imagenet[:LAYER]`; LAYER defaults to the first of
            `DEFAULT_LAYERS` that the network has.
        weights: A file that `mug.networks.tensors.read_tensors` can read; None keeps the network's own.
        stride: Output stride in pixels to which a convolutional network is reduced; None leaves it unchanged.

    Raises:
        InputError: there is no such network or layer, or the weights do not belong to it.
    """
    parts = 1 if name.split(":")[0] == IMAGENET else 2
    pieces = name.split(":", parts)
    network, mean, std = build_network(":".join(pieces[:parts]))
    layer = pieces[parts] if len(pieces) > parts else ""
    found = [default for default in DEFAULT_LAYERS if _has(network, default)]
    if not layer and not found:
        children = ", ".join(child for child, _ in network.named_children())
        raise InputError(f"--backbone {name}: name the layer to read, {name}:LAYER; its modules are {children}")
    features = LayerFeatures(name, network, layer or found[0], mean, std, stride)
    if weights is not None:
        load_into(features.network, Path(weights), name, features.unused, _authors_names(network))
    return features


DEFAULT_LAYERS = ("encoder.ln", "norm", "layer3", "blocks.4")
"""Default layers, in order of preference: a transformer's tokens after its last norm (torchvision, timm), the third
group of a residual network (the fourth block, "res4"), as in CRW and VFS, or the stage of an EfficientNet at the same
depth."""


def _authors_names(network: nn.Module) -> Callable[[dict[str, Tensor]], dict[str, Tensor]] | None:
    """Timm's conversion of the tensor names (and position grids) that a network's authors publish, if it has one."""
    translate = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    return None if translate is None else lambda tensors: translate(tensors, network)


def _has(network: nn.Module, layer: str) -> bool:
    return layer in dict(network.named_modules())


def _own(module: str, function: str, weights: Path | None, device: torch.device | str) -> Extractor:
    """The extractor that the user's function returns."""
    sys.path.insert(0, "")  # the working folder, which a console script does not search
    try:
        make = getattr(importlib.import_module(module), function, None)
    except ModuleNotFoundError as error:
        raise InputError(
            f"--backbone {module}:{function}: there is no module {error.name} here or installed; give {FORMS}"
        ) from error
    finally:
        sys.path.remove("")
    if not callable(make):
        raise InputError(f"--backbone {module}:{function}: {module} has no function {function}; check the name")
    extract = make() if weights is None else make(weights)
    if isinstance(extract, nn.Module):
        extract = extract.to(device).eval()
    if not callable(extract):
        raise InputError(
            f"--backbone {module}:{function}: gave {type(extract).__name__}; "
            "it has to give a function from a frame (1, 3, H, W) to features (1, C, h, w)"
        )
    return extract
