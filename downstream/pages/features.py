"""Features of a few frames of a sequence, small enough for a page, from which the browser computes affinities.

The affinity of a point with features q is softmax(q M s^T) over the positions s of another frame. M is I / T for MuG's
matching features at the temperature T (MuG Eq. 9), and W_c for AGNN's embedding (AGNN Eq. 5, 7, before any message).
The scores of all positions are replaced by their best approximation of rank `DIMS`, with 8 bits per number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from agnn_head.checkpoint import FORMAT as AGNN_FORMAT
from downstream.backbones.by_name import suited_temperature
from downstream.backbones.features import PhiFeatures
from downstream.pages.player import text
from downstream.systems.trained import trained_side
from downstream.zero_shot.in_order import square
from mug.checkpoint import load_weights
from mug.frames import to_tensor
from mug.media.video import Video
from mug.networks.tensors import read_safetensors

DIMS = 32
"""Numbers per position. On two DAVIS sequences the maps of MuG correlate with the exact ones at 0.97 (median), those of
AGNN at 0.999; with 24 numbers at 0.91 and 0.999."""
CELLS = 1000
"""Maximum number of positions of a frame."""


@dataclass(frozen=True)
class Grid:
    """Position of cells in a frame, as shares of its height and width."""

    rows: int
    columns: int
    top: float
    """Centre of the first row."""
    left: float
    """Centre of the first column."""
    down: float
    """Distance between rows."""
    right: float
    """Distance between columns."""


@dataclass(frozen=True)
class Matcher:
    """What compares the positions of two frames."""

    name: str
    see: Callable[[np.ndarray], tuple[Tensor, Grid]]
    """Maps a frame (HWC uint8 RGB) to the features of its positions, (P, C), and to where these are."""
    compare: Tensor
    """M (C, C), symmetric: the score of two positions is q M s^T."""


def open_matcher(weights: Path | None, name: str | None = None) -> Matcher:
    """The features of weights of MuG (None: the packaged ones) or of AGNN.

    Args:
        weights: The file.
        name: What the page calls them; default: the system, and the name of the file.

    Raises:
        InputError: the weights are neither.
    """
    is_agnn = weights is not None and read_safetensors(weights)[1].get("architecture") == AGNN_FORMAT.name
    name = name or f"{'AGNN' if is_agnn else 'MuG'}, {weights.name if weights else 'packaged weights'}"
    return _agnn(weights, name) if weights is not None and is_agnn else _mug(weights, name)


def _mug(weights: Path | None, name: str) -> Matcher:
    model, metadata = load_weights(weights)
    extract = PhiFeatures(model.phi)
    stride = extract.cells.stride

    def see(frame: np.ndarray) -> tuple[Tensor, Grid]:
        height, width = frame.shape[:2]
        scale = min(1.0, stride * (CELLS / (height * width)) ** 0.5)
        small = (max(stride, int(height * scale)), max(stride, int(width * scale)))
        match_chw = extract(to_tensor(cv2.resize(frame, small[::-1], interpolation=cv2.INTER_AREA)))[0]
        # cell i is centred on pixel stride * i (`mug.grid`)
        rows, columns = match_chw.shape[1:]
        grid = Grid(rows, columns, 0.5 / small[0], 0.5 / small[1], stride / small[0], stride / small[1])
        return match_chw.flatten(1).T.float(), grid

    channels = see(np.zeros((stride, stride, 3), np.uint8))[0].shape[1]
    return Matcher(name, see, torch.eye(channels) / suited_temperature(model, metadata))


def _agnn(weights: Path, name: str) -> Matcher:
    model, metadata = AGNN_FORMAT.load(weights)
    side = trained_side(metadata)

    def see(frame: np.ndarray) -> tuple[Tensor, Grid]:
        v_bchw = model.embed(square(frame, side)[None].float() / 255)
        v_chw = F.avg_pool2d(v_bchw, max(1, math.ceil((v_bchw[0, 0].numel() / CELLS) ** 0.5)))[0]
        rows, columns = v_chw.shape[1:]
        return v_chw.flatten(1).T.float(), Grid(rows, columns, 0.5 / rows, 0.5 / columns, 1 / rows, 1 / columns)

    with torch.inference_mode():
        return Matcher(name, see, model.messages.line.weight.float())


@torch.inference_mode()
def features(video: Video, shown: Sequence[int], matcher: Matcher, budget: int) -> dict[str, Any] | None:
    """The features of a few frames, evenly spread, for `downstream.pages.player`.

    Args:
        video: The sequence.
        shown: Indices of the frames that the page holds.
        matcher: Gives the features.
        budget: Maximum number of bytes in the page.

    Returns:
        Plain data; None if fewer than two frames fit.

    Raises:
        InputError: a frame cannot be read.
    """
    grid = matcher.see(video[shown[0]])[1]
    cells = grid.rows * grid.columns
    count = min(len(shown), budget // (DIMS * cells * 4 // 3))
    if count < 2:
        return None
    frames = [shown[int(k)] for k in np.unique(np.linspace(0, len(shown) - 1, count).round())]
    reduced, signs = low_rank(torch.cat([matcher.see(video[k])[0] for k in frames]), matcher.compare, DIMS)
    codes, scale = quantised(reduced)
    return {
        "name": matcher.name,
        "grid": asdict(grid),
        "frames": frames,
        "weights": [float(f"{weight:.6g}") for weight in signs.numpy() * scale**2],
        "codes": [text(some.tobytes()) for some in np.split(codes, len(frames))],
    }


def low_rank(x_nc: Tensor, m_cc: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Y (N, rank) and signs (rank,) with y diag(signs) y^T the best approximation of x M x^T of that rank.

    It is the truncated eigendecomposition, without the N x N matrix: x = Q R, and R M R^T is small. Its eigenvalues are
    negative where M has negative ones.
    """
    base, rest = torch.linalg.qr(x_nc)
    values, vectors = torch.linalg.eigh(rest @ m_cc @ rest.T)
    kept = values.abs().argsort(descending=True)[:rank]
    return base @ vectors[:, kept] * values[kept].abs().sqrt(), values[kept].sign()


def quantised(x_nc: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Codes (N, C) int8, and the scale (C,) that they are multiplied by."""
    scale = (x_nc.abs().amax(0) / 127).clamp(min=torch.finfo(torch.float32).tiny)
    return (x_nc / scale).round().to(torch.int8).numpy(), scale.numpy()
