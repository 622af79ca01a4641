"""Loading of third-party weights in their various formats."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from torch import Tensor, nn

from mug.errors import InputError
from mug.networks.tensors import read_tensors, without_prefix

HEADS = ("head", "heads", "fc", "classifier", "projector", "projection_head", "predictor", "prototypes", "mask_token")
"""First parts of the names of training-only layers: files may contain them, and they are dropped."""


def load_into(
    network: nn.Module,
    path: Path,
    name: str,
    unused: Collection[str] = (),
    authors_names: Callable[[dict[str, Tensor]], dict[str, Tensor]] | None = None,
) -> None:
    """Loads a weights file into a network; the file must contain every tensor of the network.

    Args:
        network: The network to load into.
        path: The file; see `read_tensors`.
        name: Name of the network, for messages.
        unused: Additional tensors that the file may contain.
        authors_names: Converts a state dict with the authors' own names.

    Raises:
        InputError: the file cannot be read, lacks tensors or has unexpected ones, other shapes, or values that are not
            finite.
    """
    expected = network.state_dict()
    tensors = without_prefix(read_tensors(path), expected)
    grid = "encoder.pos_embedding"  # torchvision's transformer, which runs at any size here
    if grid in expected and grid in tensors and tensors[grid].shape[::2] == expected[grid].shape[::2]:
        network.get_submodule("encoder").register_parameter("pos_embedding", nn.Parameter(tensors[grid]))
        expected = network.state_dict()
    faults = _faults(tensors, expected, unused)
    if faults and authors_names is not None and tensors:
        try:
            translated = authors_names(tensors)
        except (KeyError, RuntimeError, ValueError, AttributeError, IndexError):
            pass  # weights of another network: report the mismatch in the file's own names
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
    """The mismatches between a state dict and the network, in words."""
    counter = "num_batches_tracked"  # older files lack the batch counter, and nothing depends on it
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
