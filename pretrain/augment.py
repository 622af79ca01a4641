"""Augmentation of training frames: drawn with the sample's own generator, applied on the device.

All geometric changes of a frame are combined in one affine map and all colour changes in one 3x3 matrix with an offset,
so a frame is resampled once and its colours are multiplied once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from kornia.filters import gaussian_blur2d
from torch import Tensor

from mug.granularity.short_term import patch_size
from mug.grid import cells_to_frame, compose
from mug.model import Batch
from pretrain.sampling import CLIP, SampleOptions

LUMA = np.array([0.299, 0.587, 0.114])
TO_YIQ = np.array([LUMA, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
CANVAS = 1.125
"""Side of the crop read from disk, relative to that of a training frame: rotation needs the margin."""
LABEL_SAMPLES = 4
"""Samples per side at which a label is read in each cell of phi's grid; together they span one stride."""


@dataclass(frozen=True)
class Changes:
    """Augmentation of the F = 3 + K + 1 + R + K frames of a sample."""

    theta: np.ndarray
    """(F, 2, 3): from [-1, 1] coordinates of a training frame to those of the frame on disk."""
    warp: np.ndarray
    """(K, 2, 3): from [-1, 1] coordinates of `warped` to those of the abstract's frames."""
    colour: np.ndarray
    """(F, 3, 3): colour matrix, applied to RGB before the contrast."""
    contrast: np.ndarray
    """(F,)"""
    blur: np.ndarray
    """(F,): standard deviation in pixels, 0 for none."""
    patch: np.ndarray
    """(2,): (x, y) px of the top left corner of the tracked patch."""


def draw_changes(size: tuple[int, int], options: SampleOptions, rng: np.random.Generator) -> Changes:
    """Draws the changes of a sample: the same for all frames of its clip, independent for all others.

    Either all frames are mirrored or none: if only one frame of a pair were, tau of Eq. 7 would have to mirror, which
    does not happen in videos. Crops never leave the frame; only the known warps may.

    Args:
        size: Height and width of the video's frames.
        options: Strengths of the changes.
        rng: The sample's own generator.
    """
    alone = options.abstract + 1 + options.references  # the abstract, the instance, its references
    alike = [0] * CLIP + list(range(1, alone + 1))
    flip = -1.0 if rng.random() < options.flip else 1.0
    crops = np.stack([_draw_crop(size, flip, options, rng) for _ in range(alike[-1] + 1)])[alike]
    colours = [_draw_colour(options, 1.0, rng) for _ in range(alike[-1] + 1)]
    colours = [colours[i] for i in alike]
    colours += [_draw_colour(options, options.warp_strength, rng) for _ in range(options.abstract)]
    warp = np.stack([_draw_warp(options, rng) for _ in range(options.abstract)])
    theta = np.concatenate([crops, [compose(crops[CLIP + k], warp[k]) for k in range(options.abstract)]])
    colour, contrast, blur = (np.array(values) for values in zip(*colours, strict=True))
    patch = rng.integers(options.size - patch_size(options.size) + 1, size=2)
    return Changes(theta, warp, colour, contrast, blur, patch)


def boxes(theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The boxes of the frames that training frames show, and the maps into these boxes.

    Args:
        theta: (F, 2, 3), as in `Changes`.

    Returns:
        (F, 4) left, top, right, bottom as shares of width and height, within the frame; (F, 2, 3), from [-1, 1]
        coordinates of a training frame to those of its box.
    """
    reach = np.abs(theta[..., :2]).sum(-1)
    low, high = (np.clip(theta[..., 2] + sign * reach, -1, 1) for sign in (-1, 1))
    low = np.minimum(low, 1 - 1e-3)
    high = np.maximum(high, low + 1e-3)
    centre, half = (low + high) / 2, (high - low) / 2
    inside = theta.copy()
    inside[..., 2] -= centre
    return (np.concatenate([low, high], -1) + 1) / 2, inside / half[..., None]


@torch.no_grad()
def render(raw: dict[str, Tensor], names: list[str], size: int, stride: int) -> Batch:
    """Makes the training batch on the device of the samples.

    Args:
        raw: The tensors of `pretrain.dataset.RawBatch`.
        names: Names of the videos.
        size: S, side of the training frames in pixels.
        stride: Pixels per cell of phi's grid.
    """
    # sample by sample, to avoid a second copy of the whole batch in floating point
    frames = torch.stack([_render_frames(*parts, size) for parts in zip(
        raw["canvas"], raw["theta"], raw["colour"], raw["contrast"], raw["blur"], strict=True
    )])  # fmt: skip
    labels = torch.stack([
        _render_labels(*parts, size, stride)
        for parts in zip(raw["labels"], raw["labelled"], raw["theta"], strict=True)
    ])  # fmt: skip
    return Batch(frames, labels, raw["patch"], raw["pair"], raw["warp"], names)


def _render_frames(canvas: Tensor, theta: Tensor, colour: Tensor, contrast: Tensor, blur: Tensor, size: int) -> Tensor:
    """uint8 (F, 3, C, C) -> (F, 3, S, S) in [0, 1]."""
    grid = F.affine_grid(theta, [len(theta), 3, size, size], align_corners=False)
    pixels = F.grid_sample(canvas.float() / 255, grid, padding_mode="border", align_corners=False)
    return _recolour(_blur(pixels, blur), colour, contrast)


def _render_labels(labels: Tensor, labelled: Tensor, theta: Tensor, size: int, stride: int) -> Tensor:
    """uint8 (L, C, C) of the first L frames -> (L, h, w): the mean over each cell, NaN for frames without a label."""
    side = LABEL_SAMPLES * -(-size // stride)
    cells = (torch.arange(side, device=theta.device) + 0.5) / LABEL_SAMPLES - 0.5
    y, x = torch.meshgrid(*[cells_to_frame(cells, size, stride)] * 2, indexing="ij")
    points = torch.stack([x, y, torch.ones_like(x)], -1) @ theta[: len(labels), None].transpose(2, 3)
    soft = F.grid_sample(labels[:, None].float() / 255, points, padding_mode="border", align_corners=False)
    soft = F.avg_pool2d(soft, LABEL_SAMPLES)[:, 0]
    return torch.where(labelled[:, None, None], soft, torch.nan)


def _recolour(pixels_fchw: Tensor, colour: Tensor, contrast: Tensor) -> Tensor:
    """Computes c (M x) + (1 - c) m, where m is the mean brightness of M x; clamped to [0, 1]."""
    flat = pixels_fchw.flatten(2)
    luma = torch.as_tensor(LUMA, dtype=flat.dtype, device=flat.device)
    mean = (colour @ flat.mean(2, keepdim=True)).mul(luma[:, None]).sum(1, keepdim=True)
    keep = contrast[:, None, None]
    offset = ((1 - keep) * mean).expand(-1, 3, flat.shape[2])
    return torch.baddbmm(offset, keep * colour, flat).clamp_(0, 1).view_as(pixels_fchw)


def _blur(pixels_fchw: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur with one standard deviation per frame; frames with 0 are unchanged."""
    side = 2 * max(1, pixels_fchw.shape[-1] // 32) + 1
    return gaussian_blur2d(pixels_fchw, side, sigma.clamp_min(1e-3)[:, None].expand(-1, 2), "replicate")


def _draw_crop(size: tuple[int, int], flip: float, options: SampleOptions, rng: np.random.Generator) -> np.ndarray:
    """(2, 3): a rotated, stretched square inside the frame, mirrored if `flip` is -1."""
    angle = np.deg2rad(options.rotation) * rng.uniform(-1, 1)
    stretch = options.aspect ** (rng.uniform(-1, 1) / 2)
    linear = _rotation(angle) @ np.diag([flip * stretch, 1 / stretch])
    reach = np.abs(linear).sum(1)
    limit = np.array([1.0 if options.squeeze else size[1] / size[0], 1.0])  # half sides of the frame, in half heights
    scale = (limit / reach).min() * rng.uniform(options.crop, 1)
    centre = rng.uniform(-1, 1, size=2) * (limit - scale * reach)
    return np.column_stack([scale * linear, centre]) / limit[:, None]


def _draw_warp(options: SampleOptions, rng: np.random.Generator) -> np.ndarray:
    """(2, 3): the known warp."""
    angle = np.deg2rad(options.warp_rotation) * rng.uniform(-1, 1)
    zoom = options.warp_scale ** rng.uniform(-1, 1)
    shear = np.array([[1.0, options.warp_shear * rng.uniform(-1, 1)], [0.0, 1.0]])
    return np.column_stack([zoom * _rotation(angle) @ shear, options.warp_shift * rng.uniform(-1, 1, size=2)])


def _draw_colour(options: SampleOptions, strength: float, rng: np.random.Generator) -> tuple[np.ndarray, float, float]:
    """Colour matrix, contrast and blur."""
    spread = min(strength * options.jitter, 0.9)
    brightness, contrast, saturation = 1 + spread * rng.uniform(-1, 1, size=3)
    hue = 2 * np.pi * min(strength * options.hue, 0.5) * rng.uniform(-1, 1)
    if rng.random() < strength * options.grey:
        saturation = 0.0
    sigma = options.size / 128 * rng.uniform(0.4, 1.2)
    if rng.random() >= strength * options.blur:
        sigma = 0.0
    turn = np.eye(3)
    turn[1:, 1:] = saturation * _rotation(hue)
    return brightness * np.linalg.inv(TO_YIQ) @ turn @ TO_YIQ, contrast, sigma


def _rotation(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
