"""AGNN weights on disk, and initial weights for its trunk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

import mug
import mug.checkpoint
from agnn_head.embedding import DeepLabTrunk
from agnn_head.model import AGNN
from agnn_head.options import AGNNConfig, EmbeddingConfig
from mug.backbone import Phi
from mug.checkpoint import check_same, write_tensors
from mug.errors import InputError
from mug.networks.tensors import read_safetensors, read_tensors, without_prefix
from mug.options import BackboneConfig

ARCHITECTURE = "agnn"
PYRAMID_RATES = (12, 24, 36)
"""Dilations of torchvision's pretrained pyramid."""


def save_weights(path: Path, model: AGNN, metadata: Mapping[str, str]) -> None:
    """Writes a model: kernels in half precision, vectors in full.

    Args:
        path: A `.safetensors` file, written atomically.
        model: On any device.
        metadata: Notes about the weights. `architecture`, `config` (JSON) and `version` are added.
    """
    note = {"architecture": ARCHITECTURE, "config": json.dumps(asdict(model.config)), "version": mug.__version__}
    tensors = {name: x.half() if x.ndim > 1 else x for name, x in model.state_dict().items()}
    write_tensors(path, tensors, dict(metadata) | note)


def load_weights(path: Path) -> tuple[AGNN, dict[str, str]]:
    """Builds the model from a file of `save_weights`.

    Returns:
        The model on the CPU, in single precision and evaluation mode, and the file's metadata.

    Raises:
        InputError: the file is missing, truncated or not safetensors, comes from another program or architecture, or
            contains values that are not finite.
    """
    path = Path(path)
    tensors, metadata = read_safetensors(path)
    if metadata.get("architecture") != ARCHITECTURE:
        raise InputError(f"{path}: holds no AGNN; give the weights that training AGNN wrote")
    model = AGNN(_config(path, metadata))
    check_same(path, tensors, model.state_dict())
    model.load_state_dict(tensors)
    return model.eval(), metadata


def load_phi(model: AGNN, path: Path | None) -> None:
    """Initialises the trunk with the phi from a file of `mug.checkpoint.save_weights`.

    Args:
        model: With an embedding of kind `phi`.
        path: None for the packaged weights.

    Raises:
        InputError: the model has another trunk, the file's phi has another architecture, or
            `mug.checkpoint.load_weights` rejects the file.
    """
    phi = model.embedding.trunk
    if not isinstance(phi, Phi):
        raise InputError(f"embedding.kind: {model.config.embedding.kind} takes no weights of phi; use phi")
    loaded, _ = mug.checkpoint.load_weights(path)
    theirs, ours = asdict(loaded.config.backbone), asdict(phi.config)
    for name, value in theirs.items():
        if value != ours[name]:
            raise InputError(f"{path or 'packaged weights'}: its phi has {name} {value}, not {ours[name]}; set it so")
    phi.load_state_dict(loaded.phi.state_dict())


def load_deeplab(model: AGNN, path: Path) -> None:
    """Initialises the trunk from torchvision's `deeplabv3_resnet50` or `101`, a `.safetensors` or `.pth` file.

    The pyramid is loaded too if the embedding's rates are torchvision's: 12, 24 and 36. Classifiers are dropped.

    Raises:
        InputError: the model has another trunk, or the file is missing, unreadable, contains more than tensors, has
            another architecture or values that are not finite.
    """
    path, embedding = Path(path), model.embedding
    if not isinstance(embedding.trunk, DeepLabTrunk):
        raise InputError(f"embedding.kind: {model.config.embedding.kind} takes no weights of DeepLabV3; use deeplab")
    file = without_prefix(read_tensors(path), ["backbone.conv1.weight"])
    tensors = _under("backbone.", file, "trunk.resnet.")
    parts: tuple[str, ...] = ("trunk.",)
    if tuple(model.config.embedding.rates) == PYRAMID_RATES:
        tensors |= _fold_pooled_norm(_under("classifier.0.", file, "aspp."))
        parts = ("trunk.", "aspp.")
    expected = {name: x for name, x in embedding.state_dict().items() if name.startswith(parts)}
    counts = {name for name in expected if name.endswith("num_batches_tracked")}  # older files have none
    tensors = {name: x for name, x in tensors.items() if name not in counts}
    check_same(path, tensors, {name: x for name, x in expected.items() if name not in counts})
    embedding.load_state_dict(tensors, strict=False)


def _under(prefix: str, tensors: Mapping[str, Tensor], new_prefix: str) -> dict[str, Tensor]:
    return {new_prefix + name.removeprefix(prefix): x for name, x in tensors.items() if name.startswith(prefix)}


def _fold_pooled_norm(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Folds the batch norm of torchvision's pooled branch into its convolution, which gains a bias."""
    branch = _under("aspp.convs.4.", tensors, "")
    rest = {name: x for name, x in tensors.items() if not name.startswith("aspp.convs.4.")}
    if not {"1.weight", "2.weight", "2.bias", "2.running_mean", "2.running_var"} <= branch.keys():
        return rest
    scale = branch["2.weight"] / torch.sqrt(branch["2.running_var"] + 1e-5)
    rest["aspp.pooled.weight"] = branch["1.weight"] * scale.view(-1, 1, 1, 1)
    rest["aspp.pooled.bias"] = branch["2.bias"] - branch["2.running_mean"] * scale
    return rest


def _config(path: Path, metadata: Mapping[str, str]) -> AGNNConfig:
    try:
        fields = json.loads(metadata["config"])
        embedding = fields["embedding"]
        backbone = embedding["backbone"] and BackboneConfig(**embedding["backbone"])
        made = {"backbone": backbone, "rates": tuple(embedding["rates"])}
        return AGNNConfig(**fields | {"embedding": EmbeddingConfig(**embedding | made)})
    except (TypeError, KeyError, ValueError) as error:
        version = metadata.get("version", "unknown")
        raise InputError(f"{path}: its configuration is not readable here; use mug {version} that wrote it") from error
