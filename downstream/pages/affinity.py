"""Pictures of the affinity between a point of one frame and all cells of another (MuG Eq. 9)."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from markupsafe import Markup
from torch import Tensor

from downstream.backbones.by_name import suited_temperature
from downstream.pages.html import heading, image_tag, paragraph, strip, templates
from mug.checkpoint import load_weights
from mug.frames import to_tensor
from mug.media.masks import read_mask
from mug.media.video import Video
from mug.model import MuG

HEAT = np.array([255, 120, 0], np.float32)


def affinity_parts(untrained: Path, trained: Path, videos: list[Video], masks: Path) -> Iterator[Markup]:
    """Affinity of points in the first frames to later frames, before and after training.

    Args:
        untrained: Weights before training.
        trained: Weights after training.
        videos: Videos to show.
        masks: Folder of their annotations, for choosing a point on an object.
    """
    models = [load_weights(weights) for weights in (untrained, trained)]
    yield heading("Affinity: where a point is found again")
    yield paragraph(
        "The point that is marked in the first picture, compared with all places of a later frame: by the untrained "
        "phi in the second picture, by the trained one in the third. The brighter, the more alike (softmax, each phi "
        "at the temperature that suits it)."
    )
    for number, video in enumerate(videos):
        first, later = video[0], video[len(video) // 2]
        maps = [affinity(model, note, first, later) for model, note in models]
        rows, columns = maps[0].shape[:2]
        y, x = middle_cell(read_mask(masks / video.name / f"{video.frame_names[0]}.png"), (rows, columns))
        images = [_mark(first, (y, x), (rows, columns)), *(_heat(later, heat[y, x]) for heat in maps)]
        yield strip(images, f"{video.name}: the point in frame 0; in frame {len(video) // 2}, untrained and trained")
        if number == 0:
            clickable = _clickable(first, later, maps, y * columns + x)
    yield paragraph(f"Click into the first picture to ask about any other point of {videos[0].name}:")
    yield clickable


@torch.inference_mode()
def affinity(model: MuG, metadata: dict[str, str], query: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Affinity of each cell of a query frame to each cell of a source frame (MuG Eq. 9), scaled to a maximum of 255.

    Args:
        model: The model in evaluation mode.
        metadata: Metadata of its weights, which hold the calibrated temperature.
        query: HWC uint8 RGB.
        source: HWC uint8 RGB, of the same size.

    Returns:
        (h, w, h, w) uint8: query cell, source cell.
    """
    q_cn, s_cn = (_match(model, frame) for frame in (query, source))
    h, w = q_cn.shape[-2:]
    shares = (q_cn.flatten(1).T @ s_cn.flatten(1) / suited_temperature(model, metadata)).softmax(-1)
    scaled = shares / shares.amax(-1, keepdim=True)
    out: np.ndarray = (255 * scaled).round().byte().view(h, w, h, w).numpy()
    return out


def _match(model: MuG, frame: np.ndarray) -> Tensor:
    return model.phi(to_tensor(frame)).match[0]


def middle_cell(mask: np.ndarray, grid: tuple[int, int]) -> tuple[int, int]:
    """The cell (y, x) of a grid that is deepest inside the first object of a mask."""
    height, width = mask.shape
    inside = cv2.distanceTransform((mask == mask[(mask > 0) & (mask < 255)].min()).astype(np.uint8), cv2.DIST_L2, 5)
    y, x = np.unravel_index(int(inside.argmax()), mask.shape)
    return int(y) * grid[0] // height, int(x) * grid[1] // width


def _mark(frame: np.ndarray, cell: tuple[int, int], grid: tuple[int, int]) -> np.ndarray:
    """A frame with a ring around a cell."""
    height, width = frame.shape[:2]
    centre = round((cell[1] + 0.5) * width / grid[1]), round((cell[0] + 0.5) * height / grid[0])
    marked = frame.copy()
    for radius, colour in ((6, (0, 0, 0)), (5, (255, 120, 0)), (4, (255, 120, 0)), (3, (0, 0, 0))):
        cv2.circle(marked, centre, radius, colour, 1, cv2.LINE_AA)
    return marked


def _heat(frame: np.ndarray, map_hw: np.ndarray) -> np.ndarray:
    """A heat map over a darkened grey frame."""
    height, width = frame.shape[:2]
    alpha = cv2.resize(map_hw.astype(np.float32) / 255, (width, height), interpolation=cv2.INTER_LINEAR)[..., None]
    grey = 0.55 * cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32)
    return np.rint(alpha * HEAT + (1 - alpha) * grey).astype(np.uint8)


def _clickable(first: np.ndarray, later: np.ndarray, maps: list[np.ndarray], start: int) -> Markup:
    """Three pictures with the affinity maps of all query cells; a click into the first picture selects the cell."""
    rows, columns = maps[0].shape[:2]
    encoded = [base64.b64encode(entry.tobytes()).decode() for entry in maps]
    shown = ((first, "click here"), (later, "untrained phi"), (later, "trained phi"))
    content = (
        templates()
        .get_template("affinity.html")
        .render(
            shown=[(image_tag(image, text), text) for image, text in shown],
            data={"rows": rows, "columns": columns, "start": start, "maps": encoded},
        )
    )
    return Markup(content)
