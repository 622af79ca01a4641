"""Weights of other people's networks, in the forms in which they go round."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from torch import Tensor, nn

from mug.errors import InputError
from mug.networks.tensors import read_tensors, without_prefix

HEADS = ("head", "heads", "fc", "classifier", "projector", "projection_head", "predictor", "prototypes", "mask_token")
"""First parts of names that are of training alone: files may have them, and they are left out."""


def load_into(
    network: nn.Module,
    path: Path,
    name: str,
    unused: Collection[str] = (),
    authors_names: Callable[[dict[str, Tensor]], dict[str, Tensor]] | None = None,
) -> None:
    """Loads a file into a network; every tensor of the network has to come from the file.

    Args:
        network: Gets the weights.
        path: The file; see `read_tensors`.
        name: What the network is called, for messages.
        unused: Tensors that the file may have too.
        authors_names: Translates a state dict that does not fit as it is.

    Raises:
        InputError: the file cannot be read, lacks tensors of the network or has others, of other shapes, or with values
            that are not finite.
    """
    expected = network.state_dict()
    tensors = without_prefix(read_tensors(path), expected)
    grid = "encoder.pos_embedding"  # of torchvision's transformer, which we run at any size
    if grid in expected and grid in tensors and tensors[grid].shape[::2] == expected[grid].shape[::2]:
        network.get_submodule("encoder").register_parameter("pos_embedding", nn.Parameter(tensors[grid]))
        expected = network.state_dict()
    faults = _faults(tensors, expected, unused)
    if faults and authors_names is not None and tensors:
        try:
            translated = authors_names(tensors)
        except (KeyError, RuntimeError, ValueError, AttributeError, IndexError):
            pass  # it is of another network altogether, and what does not fit is said in the file's own names
        else:
            if not _faults(translated, expected, unused):
                tensors, faults = translated, []
    if faults:
        raise InputError(f"{path}: does not fit {name}: {'; '.join(faults)}; give weights of this network")
    for key in expected:
        if key in tensors and not math.isfinite(float(tensors[key].double().sum())):
            raise InputError(f"{path}: {key} is not finite; give weights of a training that did not diverge")
    network.load_state_dict({key: tensors[key] for key in expected if key in tensors}, strict=False)


def _faults(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], unused: Collection[str]) -> list[str]:
    """What keeps a state dict from being the network's, in words."""
    counter = "num_batches_tracked"  # older files know no count of batches, and nothing depends on it
    missing = [key for key in expected if key not in tensors and not key.endswith(counter)]
    strange = [
        key
        for key in tensors
        if key not in expected and key not in unused and key.split(".")[0] not in HEADS and not key.endswith(counter)
    ]
    misshapen = [
        f"{key} {tuple(tensors[key].shape)} instead of {tuple(x.shape)}"
        for key, x in expected.items()
        if key in tensors and tensors[key].shape != x.shape
    ]
    named = {"missing": missing, "unexpected": strange, "of another shape": misshapen}
    return [f"{what} {_some(keys)}" for what, keys in named.items() if keys]


def _some(keys: list[str]) -> str:
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return ", ".join(keys[:3]) + more
