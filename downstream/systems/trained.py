"""Trained weights: opening them, and what their metadata say of how to use them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch

from downstream.options import CutConfig
from downstream.zero_shot.in_order import Cut
from mug.errors import InputError
from mug.media.plain import parse_json
from mug.networks.saved import Format, Network

PAPER_SIDE = 473
"""Side in pixels of the network input (AGNN Sec. 3.3; COSNet's release)."""

Config = TypeVar("Config", bound=CutConfig)


def opened(kind: Format[Network], path: Path | None, device: torch.device) -> tuple[Network, Mapping[str, str]]:
    """A network in evaluation mode on its device, and the metadata of its weights.

    Raises:
        InputError: the weights are missing or cannot be used.
    """
    if path is None:
        name = kind.name
        raise InputError(f"--system {name}: no weights come with the package; give --weights of `mug finetune {name}`")
    network, metadata = kind.load(path)
    return network.to(device).eval(), metadata


def as_trained(config: Config, metadata: Mapping[str, str]) -> Config:
    """Fills in missing settings from the metadata of weights."""
    return replace(config, side=config.side or trained_side(metadata), cut=config.cut or cut_of(metadata))


def cut_of(metadata: Mapping[str, str]) -> Cut:
    """Threshold that suits the maps: by expected J only if they are probabilities."""
    return "expected" if is_calibrated(metadata) else "half"


def is_calibrated(metadata: Mapping[str, str]) -> bool:
    """Whether the maps are probabilities (bias correction)."""
    return metadata.get("calibrated") == "true"


def trained_side(metadata: Mapping[str, str], otherwise: int = PAPER_SIDE) -> int:
    """Training size in pixels; `otherwise` if it is unknown."""
    return trained_shape(metadata, (otherwise, otherwise))[0]


def trained_shape(metadata: Mapping[str, str], otherwise: tuple[int, int]) -> tuple[int, int]:
    """Height and width in pixels of training frames; `otherwise` if they are unknown."""
    try:
        sample = parse_json(metadata["options"])["sample"]
        height, width = int(sample["size"]), int(sample.get("width") or sample["size"])
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return otherwise
    return (height, width) if min(height, width) > 0 else otherwise
