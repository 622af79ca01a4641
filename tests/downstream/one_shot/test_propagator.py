"""One-shot propagation against a dense float64 transcription of MuG Eq. 17, and what the user relies on."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from downstream.backbones.features import lab_features
from downstream.backbones.lattice import Cells
from downstream.one_shot.propagator import Propagator, labels_to_grid
from downstream.one_shot.protocols import PRESETS, PropagationConfig
from mug.errors import InputError

MEMORY = replace(PRESETS["mug"], size=None, evidence="none")  # matching alone; the frames here are small
CELL = 8
GRID = (5, 7)


def random_extractor(count: int, seed: int = 0) -> tuple[Callable[[Tensor], Tensor], list[Tensor]]:
    """An extractor that gives frame t the t-th of some random features, and these."""
    generator = torch.Generator().manual_seed(seed)
    features = [F.normalize(torch.randn(6, *GRID, generator=generator), dim=0) for _ in range(count)]
    queue = iter(features)
    return (lambda frame: next(queue)[None]), features


def random_mask(seed: int = 0, ids: tuple[int, ...] = (0, 1, 2)) -> np.ndarray:
    """Constant within cells, so that the grid sees it exactly."""
    cells = np.random.default_rng(seed).choice(ids, size=GRID).astype(np.uint8)
    return cells.repeat(CELL, 0).repeat(CELL, 1)


def blank_frame() -> np.ndarray:
    return np.zeros((GRID[0] * CELL, GRID[1] * CELL, 3), np.uint8)


def dense_labels(features: list[Tensor], first: np.ndarray, ids: list[int], config: PropagationConfig) -> list[Tensor]:
    """Soft labels (L, h * w) of every frame: Eq. 17 over a memory, written out position by position in float64."""
    height, width = GRID
    cells = torch.from_numpy(first[::CELL, ::CELL].copy()).flatten()
    labels = [torch.stack([(cells == i).double() for i in ids])]
    for t in range(1, len(features)):
        recent = [i for i in range(max(0, t - config.frames), t) if not (config.keep_first and i == 0)]
        anchors = [0] if config.keep_first else []
        out = torch.zeros(len(ids), height * width, dtype=torch.float64)
        for n in range(height * width):
            similar, votes = [], []
            for i in anchors + recent:
                share = config.first_radius if i in anchors else config.radius
                radius = None if share is None else round(share * min(GRID))
                for m in range(height * width):
                    away = max(abs(n // width - m // width), abs(n % width - m % width))
                    if radius is None or away <= radius:
                        similar.append(
                            float(features[t].flatten(1)[:, n].double() @ features[i].flatten(1)[:, m].double())
                        )
                        votes.append(labels[i][:, m])
            order = np.argsort(similar)[::-1][: config.top_k]
            weight = torch.softmax(
                torch.tensor([similar[o] for o in order], dtype=torch.float64) / config.temperature, 0
            )
            out[:, n] = sum(w * votes[o] for w, o in zip(weight, order, strict=True))
        sharp = out**config.sharpen / (out**config.sharpen).sum(0)
        remembered = F.one_hot(out.argmax(0), len(ids)).T.double() if config.labels == "hard" else sharp
        labels.append(remembered)
    return labels


@pytest.mark.parametrize(
    "config",
    [
        replace(PRESETS["paper"], temperature=0.3),
        replace(MEMORY, frames=2, radius=0.4, first_radius=0.2, top_k=4, temperature=0.1),
        replace(MEMORY, frames=3, radius=0.2, first_radius=None, top_k=3, temperature=0.2, labels="hard"),
        replace(MEMORY, frames=2, keep_first=False, radius=0.4, top_k=None, temperature=0.1, sharpen=1),
    ],
    ids=["paper", "memory", "first unrestricted, hard", "no first, window softmax"],
)
def test_equation_17(config: PropagationConfig) -> None:
    extract, features = random_extractor(6)
    config = replace(config, argmax_at="cells")
    propagator = Propagator(extract, config)
    mask = random_mask()
    expected = dense_labels(features, mask, [0, 1, 2], config)
    for t in range(6):
        result = propagator.step(blank_frame(), mask if t == 0 else None)
        cells = expected[t].argmax(0).view(GRID).numpy().astype(np.uint8)
        assert np.array_equal(result, cells.repeat(CELL, 0).repeat(CELL, 1)), f"frame {t}"


def test_distribution_is_upsampled_before_the_argmax() -> None:
    extract, features = random_extractor(2)
    config = replace(MEMORY, sharpen=1, temperature=0.2)
    propagator = Propagator(extract, config)
    propagator.step(blank_frame(), random_mask())
    result = propagator.step(blank_frame())
    soft = dense_labels(features, random_mask(), [0, 1, 2], config)[1].view(1, 3, *GRID)
    expected = F.interpolate(soft, scale_factor=CELL, mode="bilinear").argmax(1)[0].numpy()
    assert np.mean(result == expected) > 0.999  # float32 may decide a tie otherwise
    assert len(np.unique(result.reshape(GRID[0], CELL, GRID[1], CELL).swapaxes(1, 2).reshape(-1, CELL**2), axis=0)) > 3


def test_labels_to_grid_is_area_average() -> None:
    mask = np.zeros((8, 16), np.uint8)
    mask[:4, :8] = 9
    mask[:, 12:] = 255
    labels = labels_to_grid(mask, [0, 9], (1, 2))
    assert labels[:, 0, 0].tolist() == [0.5, 0.5]
    assert labels[:, 0, 1].tolist() == [0.5, 0.0]  # the void half votes for nothing


def textured_video(frames: int = 8, size: int = 64, side: int = 24) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """A reddish square over greenish noise, two pixels further each frame."""
    rng = np.random.default_rng(3)
    noise = rng.integers(0, 90, (size // 4, size // 4)).repeat(4, 0).repeat(4, 1)
    background = np.stack([noise // 2, 90 + noise, noise], -1)
    texture = np.stack([120 + noise, noise // 2, noise], -1)[:side, :side]
    video, masks = [], []
    for t in range(frames):
        frame, mask = background.astype(np.uint8), np.zeros((size, size), np.uint8)
        frame[10 : 10 + side, 5 + 2 * t : 5 + 2 * t + side] = texture
        mask[10 : 10 + side, 5 + 2 * t : 5 + 2 * t + side] = 1
        video.append(frame)
        masks.append(mask)
    return video, masks


def follow(video: list[np.ndarray], first: np.ndarray, config: PropagationConfig) -> list[np.ndarray]:
    propagator = Propagator(lab_features, config)
    return [propagator.step(frame, first if t == 0 else None) for t, frame in enumerate(video)]


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_follows_an_object_and_keeps_its_id() -> None:
    video, masks = textured_video()
    results = follow(video, masks[0] * 254, replace(MEMORY, temperature=1e-4))
    assert np.array_equal(results[0], masks[0] * 254)
    assert results[-1].dtype == np.uint8
    assert set(np.unique(results[-1])) == {0, 254}
    assert iou(results[-1] == 254, masks[-1] == 1) > 0.6


def test_guided_filter_brings_the_outline_to_the_edge() -> None:
    video, masks = textured_video()
    config = replace(MEMORY, temperature=1e-4)
    plain, guided = (follow(video, masks[0], replace(config, refine=kind))[-1] for kind in ("none", "guided"))
    assert iou(guided == 1, masks[-1] == 1) > iou(plain == 1, masks[-1] == 1)


def test_void_of_the_first_mask_is_no_label() -> None:
    video, masks = textured_video()
    with_void = masks[0].copy()
    with_void[:, 52:] = 255
    results = follow(video, with_void, replace(MEMORY, temperature=1e-4))
    assert all(255 not in result for result in results)
    assert iou(results[1] == 1, masks[1] == 1) > 0.7


def test_frames_are_shown_to_the_extractor_at_the_size_asked_for() -> None:
    seen = []

    def extract(frame: Tensor) -> Tensor:
        seen.append(tuple(frame.shape))
        assert 0 <= float(frame.min()) <= float(frame.max()) <= 1
        return lab_features(frame)

    frame, mask = np.full((60, 80, 3), 255, np.uint8), np.ones((60, 80), np.uint8)
    for size in (None, 30, 120):
        assert Propagator(extract, PropagationConfig(size=size)).step(frame, mask).shape == (60, 80)
    assert seen == [(1, 3, 60, 80), (1, 3, 30, 40), (1, 3, 120, 160)]


def test_a_later_mask_adds_an_object_and_leaves_the_others() -> None:
    video, masks = textured_video()
    for frame in video:
        frame[44:60, 8:56, 2] += 120  # a blue thing that nobody asked for at first
    config = replace(MEMORY, temperature=1e-4)
    undisturbed = follow(video, masks[0], config)[3]
    propagator = Propagator(lab_features, config)
    for t in range(3):
        propagator.step(video[t], masks[0] if t == 0 else None)
    added = np.zeros_like(masks[0])
    added[44:60, 8:56] = 7
    after = propagator.step(video[3], added)
    assert np.array_equal(after, np.where(added == 7, added, undisturbed))
    last = propagator.step(video[4])
    assert iou(last == 7, added == 7) > 0.7
    assert iou(last == 1, masks[4] == 1) > 0.6


def test_a_later_mask_replaces_an_object() -> None:
    video, masks = textured_video()
    propagator = Propagator(lab_features, replace(MEMORY, temperature=1e-4))
    wrong = np.zeros_like(masks[0])
    wrong[40:60, 40:60] = 1
    propagator.step(video[0], wrong)
    assert np.array_equal(propagator.step(video[1], masks[1]), masks[1])
    assert iou(propagator.step(video[2]) == 1, masks[2] == 1) > 0.6


def remembered(steps: int, mask_every: int | None) -> int:
    """How many feature maps are alive after so many steps."""
    alive: list[weakref.ref[Tensor]] = []

    def extract(frame: Tensor) -> Tensor:
        features = F.normalize(torch.randn(1, 4, *GRID), dim=1)
        alive.append(weakref.ref(features.untyped_storage()))
        return features

    propagator = Propagator(extract, PropagationConfig(frames=3, unit=False))
    for t in range(steps):
        given = t == 0 or (mask_every is not None and t % mask_every == 0)
        propagator.step(blank_frame(), random_mask(t, (0, 1, 2)) if given else None)
    return sum(reference() is not None for reference in alive)


@pytest.mark.parametrize("mask_every", [None, 1])
def test_memory_does_not_grow_with_the_video(mask_every: int | None) -> None:
    assert remembered(30, mask_every) == remembered(10, mask_every) <= 4


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (None, "give its mask"),
        (np.zeros((40, 56), np.uint8), "shows no object"),
        (np.full((40, 56), 255, np.uint8), "shows no object"),
        (np.ones((56, 40), np.uint8), "40x56 pixels, its frame 56x40"),
    ],
    ids=["none", "empty", "only void", "another size"],
)
def test_what_cannot_start(mask: np.ndarray | None, message: str) -> None:
    extract, _ = random_extractor(1)
    with pytest.raises(InputError, match=message):
        Propagator(extract, MEMORY).step(blank_frame(), mask)


# --- where cells lie -------------------------------------------------------------------------------------------------


class Seeing:
    """Features that tell colours apart, on cells of stride 4 centred on their first pixel."""

    cells = Cells(4)

    def __init__(self) -> None:
        self.sizes: list[tuple[int, ...]] = []

    def __call__(self, frame: Tensor) -> Tensor:
        self.sizes.append(tuple(frame.shape[2:]))
        picked = frame[:, :, :: self.cells.stride, :: self.cells.stride]
        return torch.cat([picked, 1 - picked], 1)


@pytest.mark.parametrize("stride", [4, 8])
def test_the_papers_grid_is_64_by_64_of_one_label_each(stride: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """MuG Sec. 3.3: labels in {0, 1}^L on 64 x 64 positions, whatever the stride and the video; masks at its size."""
    monkeypatch.setattr(Seeing, "cells", Cells(stride))
    extract = Seeing()
    propagator = Propagator(extract, replace(PRESETS["paper"], temperature=0.01))
    frame, mask = np.full((75, 110, 3), 20, np.uint8), np.zeros((75, 110), np.uint8)
    frame[22:51, 33:68], mask[22:51, 33:68] = 230, 3
    assert np.array_equal(propagator.step(frame, mask), mask)
    labels = propagator._recent[0].labels
    assert labels.shape == (2, 64, 64)
    assert set(labels.unique().tolist()) == {0, 1}
    found = propagator.step(frame)
    assert found.shape == (75, 110)
    assert iou(found == 3, mask == 3) > 0.93
    assert set(extract.sizes) == {(64 * stride, 64 * stride)}


def test_labels_come_back_where_the_cells_lie() -> None:
    """A still video: the mask of a square that begins at the middle between two cells must not wander."""
    frame, mask = np.full((64, 96, 3), 20, np.uint8), np.zeros((64, 96), np.uint8)
    frame[14:38, 30:62], mask[14:38, 30:62] = 230, 1
    config = replace(MEMORY, temperature=0.01, sharpen=1, cells="backbone")
    propagator = Propagator(Seeing(), config)
    propagator.step(frame, mask)
    found = propagator.step(frame)
    y, x = (float(axis.mean()) for axis in np.nonzero(found))
    assert (y, x) == pytest.approx((25.5, 45.5), abs=0.6)
    evenly = Propagator(Seeing(), replace(config, cells="even"))
    evenly.step(frame, mask)
    assert not np.array_equal(evenly.step(frame), found)
