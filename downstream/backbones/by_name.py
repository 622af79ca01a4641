"""What `--backbone` names: phi, a network of torchvision or timm by name, or a function of the user's own."""

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
"""Where weights say which temperature suits them; `mug calibrate` writes it."""


class Backbone(NamedTuple):
    """What frames are compared by."""

    extract: Extractor
    temperature: float | None
    """The one that suits the features, where the weights say it."""


def open_backbone(
    name: str, weights: Path | None, device: torch.device | str = "cpu", stride: int | None = None
) -> Backbone:
    """The backbone that `--backbone NAME --weights FILE` asks for, on a device.

    Args:
        name: `mug`; `imagenet[:LAYER]` (see `mug.networks.named`), `torchvision:NAME[:LAYER]` or `timm:NAME[:LAYER]`,
            LAYER a module of the network, as its `named_modules()` calls it; or `module:function`, where the function
            gives an `Extractor`. It is called with the path of the weights where there are some.
        weights: Of MuG (those that come with the package when None), of the network, or of nobody.
        device: Where frames will lie.
        stride: Pixels to a cell that a convolutional network by name is brought to; None: as it is.

    Raises:
        InputError: no such backbone, or the weights are not its.
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
    """The temperature that fits the features: the calibrated one, else that learned with the matching head."""
    return float(metadata.get(TEMPERATURE_KEY, model.temperature.detach()))


def named_network(name: str, weights: Path | None, stride: int | None = None) -> LayerFeatures:
    """A layer of a torchvision or timm network.

    Args:
        name: `torchvision:NAME[:LAYER]`, `timm:NAME[:LAYER]` or `imagenet[:LAYER]`; without a layer, that of
            `DEFAULT_LAYERS`.
        weights: A file in one of the forms that `mug.networks.tensors.read_tensors` knows; None: as the network comes.
        stride: Pixels to a cell that a convolutional network is brought to; None: as it is.

    Raises:
        InputError: no such network or layer, or the weights are not its.
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
"""What is read without a layer's name, if the network has it: a transformer's tokens after its last norm (torchvision,
timm), the third group of a residual network (the fourth block, "res4"), as CRW and VFS do, or what an EfficientNet has
at the same depth."""


def _authors_names(network: nn.Module) -> Callable[[dict[str, Tensor]], dict[str, Tensor]] | None:
    """Timm's own translation of the names (and position grids) that a network's authors publish, if it has one."""
    translate = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    return None if translate is None else lambda tensors: translate(tensors, network)


def _has(network: nn.Module, layer: str) -> bool:
    return layer in dict(network.named_modules())


def _own(module: str, function: str, weights: Path | None, device: torch.device | str) -> Extractor:
    """What the user's function gives."""
    sys.path.insert(0, "")  # the folder that the command runs in, which a console script does not search
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
