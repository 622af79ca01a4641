"""Weights on disk: mug's own safetensors files, and conversion from and to torchvision."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import safetensors.torch
from torch import Tensor, nn

import mug
from mug.backbone import Phi
from mug.errors import InputError
from mug.media.files import atomic_path
from mug.media.plain import parse_json
from mug.model import MuG
from mug.networks.tensors import read_safetensors, read_tensors, without_prefix
from mug.options import BackboneConfig, ModelConfig

PACKAGED = Path(__file__).parent / "weights"

TRAINING_ONLY = ("kappa.", "short.")
"""Heads that only losses use; checkpoints of a run keep them, released weights omit them to save megabytes."""


def save_weights(path: Path, model: MuG, metadata: Mapping[str, str]) -> None:
    """Writes the parts of a model that inference needs: phi, rho, v and the temperature.

    Kernels are stored in half precision, vectors in full: batch norm statistics may exceed the range of half.

    Args:
        path: A `.safetensors` file, written atomically.
        model: On any device.
        metadata: Notes about the weights. `config` (JSON) and `version` are added.
    """
    tensors = {name: x for name, x in model.state_dict().items() if not name.startswith(TRAINING_ONLY)}
    note = dict(metadata) | {"config": json.dumps(asdict(model.config)), "version": mug.__version__}
    write_tensors(path, {name: x.half() if x.ndim > 1 else x for name, x in tensors.items()}, note)


def load_weights(path: Path | None = None) -> tuple[MuG, dict[str, str]]:
    """Builds the model from a file of `save_weights`.

    Args:
        path: None for the packaged weights.

    Returns:
        The model on the CPU, in single precision and evaluation mode, and the file's metadata. Heads that only
        training uses are untrained.

    Raises:
        InputError: the file is missing, truncated or not safetensors, comes from another program or architecture, or
            contains values that are not finite.
    """
    path = packaged_weights() if path is None else Path(path)
    tensors, metadata = read_safetensors(path)
    model = MuG(_config(path, metadata))
    expected = {name: x for name, x in model.state_dict().items() if not name.startswith(TRAINING_ONLY)}
    check_same(path, tensors, expected)
    model.load_state_dict(tensors, strict=False)
    model.metadata = metadata
    return model.eval(), metadata


class Format(NamedTuple):
    """How weights files of MuG are written and read, like `mug.networks.saved.Format` for the systems' networks."""

    save: Callable[[Path, MuG, Mapping[str, str]], None]
    load: Callable[[Path | None], tuple[MuG, dict[str, str]]]


FORMAT = Format(save_weights, load_weights)


def load_torchvision(phi: Phi, path: Path) -> None:
    """Initialises phi from torchvision's ResNet weights, `.safetensors` or `.pth`; groups that phi lacks are dropped.

    Raises:
        InputError: the file is missing, unreadable, contains more than tensors, has another architecture or values
            that are not finite.
    """
    path = Path(path)
    # older files lack the batch counter, and nothing depends on it
    expected = {name: x for name, x in phi.resnet.state_dict().items() if not name.endswith("num_batches_tracked")}
    tensors = {name: x for name, x in without_prefix(read_tensors(path), expected).items() if name in expected}
    check_same(path, tensors, expected)
    phi.resnet.load_state_dict(tensors, strict=False)


def load_phi_into_torchvision(phi: Phi, network: nn.Module) -> None:
    """Copies phi's residual layers into a `torchvision.models.resnet*` of the same depth; other layers are unchanged.

    Raises:
        InputError: the network has another depth than phi.
    """
    wanted = network.state_dict()
    state = phi.resnet.state_dict()
    if any(name not in wanted or wanted[name].shape != x.shape for name, x in state.items()):
        raise InputError(f"{type(network).__name__}: its layers are not phi's; use resnet{phi.config.depth}")
    network.load_state_dict(state, strict=False)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Writes a safetensors file atomically."""
    with atomic_path(Path(path)) as temporary:
        ready = {name: x.detach().cpu().contiguous() for name, x in tensors.items()}
        temporary.write_bytes(safetensors.torch.save(ready, metadata))  # its own writing hides errors of the disk


def packaged_weights() -> Path:
    """Path of the packaged weights.

    Raises:
        InputError: the installation has none.
    """
    files = sorted(PACKAGED.glob("*.safetensors"))
    if not files:
        raise InputError(f"{PACKAGED}: no weights come with this installation; give a file with --weights")
    return files[0]


def _config(path: Path, metadata: dict[str, str]) -> ModelConfig:
    if "config" not in metadata:
        raise InputError(f"{path}: was not written by mug; give the weights of a training run")
    try:
        fields = parse_json(metadata["config"])
        return ModelConfig(**fields | {"backbone": BackboneConfig(**fields["backbone"])})
    except (TypeError, KeyError, ValueError) as error:
        version = metadata.get("version", "unknown")
        raise InputError(f"{path}: its configuration is not readable here; use mug {version} that wrote it") from error


def check_same(path: Path, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raises `InputError` unless names and shapes agree and all values are finite numbers."""
    strange = sorted(expected.keys() ^ tensors.keys()) or sorted(
        name for name, x in expected.items() if x.shape != tensors[name].shape
    )
    if strange:
        raise InputError(f"{path}: is of another architecture ({strange[0]} does not fit); give weights of this one")
    for name, x in tensors.items():
        if not math.isfinite(float(x.double().sum())):
            raise InputError(f"{path}: {name} is not finite; the training that wrote it diverged, use earlier weights")
