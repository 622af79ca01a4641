"""The published protocols: our presets against dense transcriptions of what the released code of each does.

Each transcription holds the whole affinity matrix in float64 and is written from the facts in `docs/protocols.md`: the
frames that are looked at, the window, top-k, softmax, and the way of labels to the grid and back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from functools import cache
from typing import Any, get_args

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from downstream.one_shot.propagator import Propagator, fit_frame, labels_to_grid, stretched
from downstream.one_shot.protocols import PRESETS, Preset, PropagationConfig

GRID = (14, 28)
CHANNELS = 12
IDS = [0, 1, 3, 4]

Reference = Callable[[list[Tensor], np.ndarray, tuple[int, int]], list[np.ndarray]]
"""Features (C, h, w) of all frames, the first mask (H, W), the size the network sees -> masks of all frames."""


@cache
def moving_features(frames: int, grid: tuple[int, int]) -> tuple[list[Tensor], np.ndarray]:
    """Smooth random features over which three objects with features of their own move, and the first frame's ids."""
    generator = torch.Generator().manual_seed(7)

    def smooth(*size: int) -> Tensor:
        return F.interpolate(torch.randn(1, CHANNELS, *size, generator=generator), scale_factor=4, mode="bicubic")[0]

    height, width = grid
    background = smooth(height, width)
    inner = {i: smooth(4, 4) for i in IDS[1:]}
    out, first = [], np.zeros(grid, np.uint8)
    for t in range(frames):
        frame = background[:, t // 2 : t // 2 + height, t : t + width].clone()
        for n, (i, texture) in enumerate(inner.items()):
            y, x = (3 + 4 * n + t // 3) % (height - 5), (2 + 8 * n + t * (1 if n != 1 else -1)) % (width - 7)
            frame[:, y : y + 5, x : x + 7] = 1.5 * texture[:, :5, :7]
            if t == 0:
                first[y : y + 5, x : x + 7] = i
        out.append(2 * frame + 1.4 * torch.randn(CHANNELS, *grid, generator=generator))
    return out, first


def first_mask(cells: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The cells' ids at the size of the frame, with slanted outlines, so that it matters how they reach the grid."""
    y, x = np.mgrid[: size[0], : size[1]]
    rows = ((y + 3 * np.sin(x / 5)) * cells.shape[0] / size[0]).clip(0, cells.shape[0] - 1).astype(int)
    columns = ((x + 3 * np.sin(y / 7)) * cells.shape[1] / size[1]).clip(0, cells.shape[1] - 1).astype(int)
    return cells[rows, columns]


def ours(
    config: PropagationConfig, features: list[Tensor], mask: np.ndarray
) -> tuple[list[np.ndarray], tuple[int, int]]:
    """Masks of all frames, and the size of the frames that features were asked for."""
    queue, seen = iter(features), []

    def extract(frame: Tensor) -> Tensor:
        seen.append(tuple(frame.shape[2:]))
        return next(queue)[None]

    propagator = Propagator(extract, config)
    blank = np.zeros((*mask.shape, 3), np.uint8)
    masks = [propagator.step(blank, mask if t == 0 else None) for t in range(len(features))]
    return masks, seen[0]


# --- what the transcriptions share: plain linear algebra -------------------------------------------------------------


def units(features: list[Tensor]) -> list[Tensor]:
    """(h * w, C) each, rows of length one."""
    return [F.normalize(x.double().flatten(1).T, dim=1) for x in features]


def distances(grid: tuple[int, int], order: float) -> Tensor:
    """(h * w, h * w) between cells: Euclidean for order 2, the larger of |dx| and |dy| for infinity."""
    y, x = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    cells = torch.stack([y.flatten(), x.flatten()], 1).double()
    return torch.cdist(cells, cells, p=order)


def best(logits_nm: Tensor, k: int) -> Tensor:
    """Softmax over the k largest of each row, zero elsewhere."""
    values, index = logits_nm.topk(k, dim=1)
    return torch.zeros_like(logits_nm).scatter(1, index, values.softmax(1))


def one_hot(mask: np.ndarray) -> np.ndarray:
    return np.stack([mask == i for i in IDS], -1).astype(np.float64)


def nearest(mask: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    return np.asarray(Image.fromarray(mask).resize((size[1], size[0]), Image.Resampling.NEAREST))


def to_rows(labels_hwl: np.ndarray) -> Tensor:
    return torch.from_numpy(labels_hwl).double().flatten(0, 1)


def to_maps(labels_nl: Tensor, grid: tuple[int, ...]) -> Tensor:
    return labels_nl.T.reshape(-1, *grid)


def ids_of(maps_lhw: Tensor) -> np.ndarray:
    return np.array(IDS, np.uint8)[maps_lhw.argmax(0).numpy()]


def span(maps_lhw: Tensor) -> Tensor:
    low, high = maps_lhw.flatten(1).min(1).values, maps_lhw.flatten(1).max(1).values
    return (maps_lhw - low[:, None, None]) / (high - low)[:, None, None]


def upsampled(maps_lhw: Tensor, size: tuple[int, ...]) -> Tensor:
    return F.interpolate(maps_lhw[None], size, mode="bilinear", align_corners=False)[0]


# --- the transcriptions ----------------------------------------------------------------------------------------------


def crw(features: list[Tensor], mask: np.ndarray, size: tuple[int, int]) -> list[np.ndarray]:
    grid = tuple(features[0].shape[1:])
    x, far = units(features), distances(grid, 2) >= 12
    labels = [to_rows(cv2.resize(one_hot(mask), grid[::-1], interpolation=cv2.INTER_LINEAR))]
    masks = [mask]
    for t in range(1, len(features)):
        recent = [max(0, t - 20 + j) for j in range(20)]  # before the video stand copies of its first frame
        blocks = [x[t] @ x[0].T] + [(x[t] @ x[s].T).masked_fill(far, -1e10) for s in recent]
        weights = best(torch.cat(blocks, 1) / 0.05, 10)
        labels.append(weights @ torch.cat([labels[s] for s in [0, *recent]]))
        soft = cv2.resize(to_maps(labels[t], grid).permute(1, 2, 0).contiguous().numpy(), mask.shape[::-1])
        masks.append(np.array(IDS, np.uint8)[soft.argmax(-1)])
    return masks


def dino(features: list[Tensor], mask: np.ndarray, size: tuple[int, int]) -> list[np.ndarray]:
    grid = tuple(features[0].shape[1:])
    x, near = units(features), distances(grid, torch.inf) <= 12
    labels, masks = [to_rows(one_hot(nearest(mask, grid)))], [mask]
    for t in range(1, len(features)):
        context = [0, *range(max(1, t - 7), t)]
        affinity = torch.cat([(x[t] @ x[s].T / 0.1).exp() * near for s in context], 1)
        kth = affinity.topk(5, dim=1).values[:, -1:]
        affinity = affinity * (affinity >= kth)
        labels.append(affinity / affinity.sum(1, keepdim=True) @ torch.cat([labels[s] for s in context]))
        masks.append(nearest(ids_of(span(upsampled(to_maps(labels[t], grid), size))), mask.shape))
    return masks


def vfs(features: list[Tensor], mask: np.ndarray, size: tuple[int, int], radius: int = 12) -> list[np.ndarray]:
    grid = tuple(features[0].shape[1:])
    x, far = units(features), distances(grid, 2) >= radius
    labels, masks = [to_rows(one_hot(nearest(mask, grid)))], [mask]
    for t in range(1, len(features)):
        context = [0, *range(max(0, t - 20), t)]  # the first frame may be in it twice
        logits = torch.cat([(x[t] @ x[s].T / 0.07).masked_fill(far, -torch.inf) for s in context], 1)
        labels.append(best(logits, 10) @ torch.cat([labels[s] for s in context]))
        masks.append(ids_of(span(upsampled(to_maps(labels[t], grid), mask.shape))))
    return masks


def vfs_r50(features: list[Tensor], mask: np.ndarray, size: tuple[int, int]) -> list[np.ndarray]:
    return vfs(features, mask, size, 18)


def dinov3(features: list[Tensor], mask: np.ndarray, size: tuple[int, int]) -> list[np.ndarray]:
    grid = tuple(features[0].shape[1:])
    x, far = units(features), distances(grid, 2) > 12
    labels, masks = [to_rows(one_hot(nearest(mask, grid)))], [mask]
    for t in range(1, len(features)):
        context = [0, *range(max(1, t - 7), t)]
        logits = torch.cat([(x[t] @ x[s].T / 0.2).masked_fill(far, -torch.inf) for s in context], 1)
        labels.append(best(logits, 5) @ torch.cat([labels[s] for s in context]))
        masks.append(ids_of(span(F.interpolate(to_maps(labels[t], grid)[None], mask.shape, mode="nearest")[0])))
    return masks


def timecycle(features: list[Tensor], mask: np.ndarray, size: tuple[int, int]) -> list[np.ndarray]:
    grid = tuple(features[0].shape[1:])
    x = units(features)
    labels = [to_rows(cv2.resize(one_hot(nearest(mask, size)), grid[::-1], interpolation=cv2.INTER_LINEAR))]
    masks = [mask]
    for t in range(1, len(features)):
        out = torch.zeros_like(labels[0])
        context = [0] + [max(0, t - 7 + j) for j in range(7)]
        for s in context:
            weights = (x[t] @ x[s].T * 512**0.5).softmax(1)
            out += (weights * (weights >= weights.topk(5, dim=1).values[:, -1:])) @ labels[s] / len(context)
        maps = span(to_maps(out, grid))
        labels.append(maps.flatten(1).T)
        masks.append(nearest(ids_of(upsampled(maps, size)), mask.shape))
    return masks


def corrflow(features: list[Tensor], mask: np.ndarray, size: tuple[int, int]) -> list[np.ndarray]:
    grid = tuple(features[0].shape[1:])
    far = distances(grid, torch.inf) > 6
    masks = [mask]
    for t in range(1, len(features)):
        before, now = features[t - 1].double().flatten(1), features[t].double().flatten(1)
        weights = (now.T @ before).masked_fill(far, -torch.inf).softmax(1)
        labels = weights @ to_rows(one_hot(nearest(masks[-1], grid)))
        masks.append(ids_of(upsampled(to_maps(labels, grid), mask.shape)))
    return masks


# --- the table -------------------------------------------------------------------------------------------------------

FRAME = (112, 221)
"""Its width is no multiple of a cell's 8 pixels, nor of 16 or 64."""

# preset: transcription, frames (more than it remembers), what of it is made small for the test, what the network sees
CONFORMANCE: dict[str, tuple[Reference, int, dict[str, Any], tuple[int, int]]] = {
    "crw": (crw, 22, {}, FRAME),
    "vfs": (vfs, 22, {"size": 112}, FRAME),
    "vfs_r50": (vfs_r50, 6, {"size": 112}, FRAME),
    "dino": (dino, 14, {"size": 112}, (112, 192)),
    "dinov3": (dinov3, 14, {"size": 224}, (224, 448)),
    "timecycle": (timecycle, 14, {"size": 112}, (112, 112)),
    "corrflow": (corrflow, 6, {}, FRAME),
}
GRIDS = {"dino": (14, 24), "timecycle": (14, 14)}


@cache
def reference(preset: Preset) -> tuple[list[Tensor], np.ndarray, list[np.ndarray]]:
    """Features, the first mask, and the masks that the transcription gives."""
    transcription, frames, _, size = CONFORMANCE[preset]
    features, cells = moving_features(frames, GRIDS.get(preset, GRID))
    frame = (112, 224) if preset == "dinov3" else FRAME  # its nearest neighbour is torch's old one: no ties here
    mask = first_mask(cells, frame)
    return features, mask, transcription(features, mask, size)


def agreement(config: PropagationConfig, preset: Preset, frames: int | None = None) -> float:
    """Share of the pixels, first frame apart, that have the reference's id."""
    features, mask, expected = reference(preset)
    features, expected = features[:frames], expected[:frames]
    masks, _ = ours(config, features, mask)
    return float(np.mean([a == b for a, b in zip(masks[1:], expected[1:], strict=True)]))


@pytest.mark.parametrize("preset", CONFORMANCE)
def test_conformance(preset: Preset) -> None:
    _, _, changes, size = CONFORMANCE[preset]
    features, mask, expected = reference(preset)
    assert set(np.unique(expected[-1])) == set(IDS), "every object lives to the end"
    assert np.mean(expected[-1] == mask) < 0.95, "and they move"
    masks, seen = ours(replace(PRESETS[preset], **changes), features, mask)
    assert seen == size
    assert np.array_equal(masks[0], mask)
    assert agreement(replace(PRESETS[preset], **changes), preset) >= 0.9999


ALTERATIONS: list[tuple[Preset, dict[str, Any]]] = [
    ("crw", {"frames": 19}),
    ("crw", {"first_copies": 0}),
    ("crw", {"window": "square"}),
    ("crw", {"radius": 12}),
    ("crw", {"first_radius": 11.99}),
    ("crw", {"top_k": 9}),
    ("crw", {"temperature": 0.06}),
    ("crw", {"first_labels": "nearest"}),
    ("crw", {"labels": "hard"}),
    ("crw", {"sharpen": 1.1}),
    ("vfs", {"first_copies": 0}),
    ("vfs", {"stretch": "none"}),
    ("dino", {"frames": 8}),
    ("dino", {"keep_first": False}),
    ("dino", {"radius": 11}),
    ("dino", {"first_radius": None}),
    ("dino", {"top_k": 6}),
    ("dino", {"first_labels": "area"}),
    ("dino", {"stretch": "none"}),
    ("dino", {"argmax_at": "frame"}),
    ("dinov3", {"argmax_at": "frame"}),
    ("timecycle", {"votes": "joint"}),
    ("timecycle", {"stretch": "result"}),
    ("corrflow", {"unit": True}),
    ("corrflow", {"labels": "soft"}),
]


@pytest.mark.parametrize(("preset", "change"), ALTERATIONS, ids=lambda x: x if isinstance(x, str) else "-".join(x))
def test_every_number_matters(preset: Preset, change: dict[str, Any]) -> None:
    changes = CONFORMANCE[preset][2]
    frames = 8 if preset == "crw" and "frames" not in change else None  # most show early
    assert agreement(replace(PRESETS[preset], **changes | change), preset, frames) < 0.9999


def test_presets_are_those_of_the_command_line() -> None:
    assert list(PRESETS) == list(get_args(Preset))
    assert all(isinstance(config, PropagationConfig) and fields(config) for config in PRESETS.values())


@pytest.mark.parametrize(
    ("preset", "frame", "shown"),
    [
        ("mug", (240, 427), (480, 854)),
        ("crw", (480, 910), (480, 910)),
        ("dino", (480, 854), (480, 832)),
        ("dino", (1080, 1920), (480, 832)),
        ("dino", (854, 480), (832, 480)),
        ("dinov3", (480, 854), (960, 1712)),
        ("timecycle", (480, 854), (320, 320)),
        ("vfs", (720, 1280), (480, 853)),
    ],
)
def test_resolutions(preset: Preset, frame: tuple[int, int], shown: tuple[int, int]) -> None:
    assert fit_frame(np.zeros((*frame, 3), np.uint8), PRESETS[preset]).shape == (*shown, 3)


def test_a_mask_reaches_the_grid_as_asked() -> None:
    mask = np.zeros((8, 8), np.uint8)
    mask[:4, :5] = 2
    share, centre, blend = (labels_to_grid(mask, [0, 2], (1, 2), how)[1, 0] for how in ("area", "nearest", "bilinear"))
    assert share.tolist() == [0.5, 0.125]
    assert centre.tolist() == [0, 0]  # the pixel below the middle
    assert blend.tolist() == [0.5, 0]


def test_a_constant_map_is_stretched_to_nothing() -> None:
    maps = torch.stack([torch.full((2, 2), 0.7), torch.tensor([[0.1, 0.2], [0.3, 0.3]])])
    assert torch.allclose(stretched(maps), torch.tensor([[[0, 0], [0, 0]], [[0, 0.5], [1, 1]]]))
