"""Weights of other people's networks, in the forms in which they go round."""

from __future__ import annotations

import argparse
import math
import pickle
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mug.checkpoint import read_safetensors
from mug.errors import InputError

WRAPPERS = ("teacher", "state_dict", "model_state_dict", "model", "network")
"""Under which of its keys a checkpoint keeps the network; a teacher is what is published of the two."""

PREFIXES = ("module.", "backbone.", "encoder_q.", "base_encoder.", "encoder.", "model.", "teacher.", "student.")
"""What trainers put before a network's own names."""

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
    tensors = _without_prefix(read_tensors(path), expected)
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


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The state dict in a file of safetensors or `torch.save`, read without running code.

    It may be the whole file, or lie under one of `WRAPPERS` beside the state of a training.

    Raises:
        InputError: the file is missing, damaged, holds what could run code, or no state dict.
    """
    if path.suffix == ".safetensors":
        return read_safetensors(path)[0]
    if not path.is_file():
        raise InputError(f"{path}: no such file; give the weights of the network")
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):  # many checkpoints keep their options so
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path}: holds more than tensors and plain data, or is damaged; save its state dict alone"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: is damaged or no file of torch.save; fetch it again") from error
    return _unwrapped(path, content)


def _unwrapped(path: Path, content: Any) -> dict[str, Tensor]:
    while isinstance(content, Mapping) and not (content and all(isinstance(x, Tensor) for x in content.values())):
        inner = [content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)]
        if not inner:
            keys = ", ".join(str(key) for key in list(content)[:6]) or "nothing"
            raise InputError(f"{path}: holds no state dict (but {keys}); save its state dict alone")
        content = inner[0]
    if not isinstance(content, Mapping):
        raise InputError(f"{path}: holds a {type(content).__name__}, no state dict; save its state dict alone")
    return {str(key): x for key, x in content.items()}


def _without_prefix(tensors: dict[str, Tensor], expected: Collection[str]) -> dict[str, Tensor]:
    """Takes prefixes off until names are the network's; what lies beside the network (heads, queues) goes with them."""
    while not any(key in expected for key in tensors):
        prefix = next((p for p in PREFIXES if any(key.startswith(p) for key in tensors)), None)
        if prefix is None:
            break
        tensors = {key.removeprefix(prefix): x for key, x in tensors.items() if key.startswith(prefix)}
    return tensors


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
