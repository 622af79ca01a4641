"""What the metadata of trained weights say of how to use them."""

from __future__ import annotations

import json
from collections.abc import Mapping

from downstream.zero_shot.in_order import Cut

PAPER_SIDE = 473
"""Side in pixels of the network input (AGNN Sec. 3.3; COSNet's release)."""


def cut_of(metadata: Mapping[str, str]) -> Cut:
    """Threshold that suits the maps: by expected J only if they are probabilities."""
    return "expected" if is_calibrated(metadata) else "half"


def is_calibrated(metadata: Mapping[str, str]) -> bool:
    """Whether the maps are probabilities (bias correction)."""
    return metadata.get("calibrated") == "true"


def trained_side(metadata: Mapping[str, str]) -> int:
    """Training size in pixels; by default the papers'."""
    options = json.loads(metadata.get("options", "{}"))
    return int(options.get("sample", {}).get("size", PAPER_SIDE))
