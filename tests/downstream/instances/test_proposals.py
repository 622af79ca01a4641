"""Proposals of a frame: edges, boxes, layers, outlines and the filter."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from downstream.instances.edge_boxes import edge_boxes, edge_map, thin
from downstream.instances.motion_layers import layers, see_motion
from downstream.instances.proposals import Proposal, filtered, grab, overlap, propose

SIZE = (96, 144)
BOXES = {1: (20, 20, 36, 30), 2: (56, 32, 40, 36), 3: (100, 50, 30, 34)}
"""x, y, width, height; the first two touch."""
SHIFTS = {0: (1.0, 0.0), 1: (3.0, 1.0), 2: (-1.0, 2.0), 3: (1.0, -2.5)}
"""Pixels a frame; 0 is the background."""


def labels(t: int = 0) -> np.ndarray:
    out = np.zeros(SIZE, np.uint8)
    for i, (x, y, w, h) in BOXES.items():
        dx, dy = (round(t * shift) for shift in SHIFTS[i])
        out[y + dy : y + dy + h, x + dx : x + dx + w] = i
    return out


def texture(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 90, (40, 56, 3)).astype(np.uint8)
    tint = np.array([(60, 60, 60), (150, 30, 30), (30, 140, 40), (40, 40, 160)][seed], np.uint8)
    return cv2.resize(coarse, (224, 160), interpolation=cv2.INTER_CUBIC)[:, :, :] // 2 + tint


def frame(t: int) -> np.ndarray:
    out = np.zeros((*SIZE, 3), np.uint8)
    now = labels(t)
    for i in range(4):
        dx, dy = (round(t * shift) for shift in SHIFTS[i])
        picture = texture(i)[30 - dy : 30 - dy + SIZE[0], 30 - dx : 30 - dx + SIZE[1]]
        out[now == i] = picture[now == i]
    return out


def true_flow(first: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The flow from frame 0 to frame 2 or -2, as painted."""
    t = 2 if np.array_equal(other, frame(2)) else -2
    steps = np.array([[round(t * v) for v in SHIFTS[i]] for i in range(4)], np.float32)
    noise = np.random.default_rng(1).normal(0, 0.05, (*SIZE, 2)).astype(np.float32)
    return steps[labels()] + noise


def test_layers_are_the_objects_though_they_touch() -> None:
    motion = see_motion(frame(0), [frame(-2), frame(2)], true_flow)
    assert overlap(motion.moving, labels() > 0) > 0.95
    found = layers(motion, motion.moving)
    assert len(found) == 3
    assert max(np.sum(found, axis=0).ravel()) == 1
    for i in BOXES:
        assert max(overlap(layer, labels() == i) for layer in found) > 0.9


def test_nothing_moves_in_a_frame_alone_and_by_the_camera_alone() -> None:
    assert not see_motion(frame(0), [], true_flow).moving.any()
    camera = np.broadcast_to(np.float32([4, 2]), (*SIZE, 2))
    noise = np.random.default_rng(0).normal(0, 0.05, (*SIZE, 2)).astype(np.float32)
    assert not see_motion(frame(0), [frame(2)], lambda a, b: camera + noise).moving.any()


def test_edges_are_thin_and_lie_on_outlines() -> None:
    plain = np.zeros((*SIZE, 3), np.uint8)
    plain[30:60, 40:90] = 200
    edges, normal = edge_map(plain, np.zeros((*SIZE, 2), np.float32))
    assert edges.max() <= 1.0
    on = np.argwhere(edges > 0.2)
    assert all(min(abs(y - 29.5), abs(y - 59.5), abs(x - 39.5), abs(x - 89.5)) < 2 for y, x in on)
    across = np.flatnonzero(edges[45, 30:50] > 0.2)
    assert 1 <= len(across) <= 2  # both pixels beside the step are equally steep
    assert np.cos(normal[45, 40]) ** 2 == pytest.approx(1, abs=1e-3)  # a vertical edge is crossed sideways


def test_thinning_keeps_the_strongest_across() -> None:
    ridge = np.tile(np.float32([0, 1, 3, 2, 0]), (4, 1))
    assert np.array_equal(thin(ridge, np.zeros((4, 5))) > 0, np.tile([False, False, True, False, False], (4, 1)))


def test_boxes_are_found_around_what_moves() -> None:
    motion = see_motion(frame(0), [frame(-2), frame(2)], true_flow)
    boxes = edge_boxes(frame(0), motion.residual, 50, 100)
    assert 0 < len(boxes) <= 50

    def box_iou(box: np.ndarray, other: tuple[int, ...]) -> float:
        masks = [np.zeros(SIZE, bool) for _ in range(2)]
        for mask, (x, y, w, h) in zip(masks, (box, other), strict=True):
            mask[y : y + h, x : x + w] = True
        return overlap(*masks)

    assert sum(max(box_iou(box, true) for box in boxes) > 0.6 for true in BOXES.values()) >= 2


def test_grabcut_moves_the_outline_to_the_colours() -> None:
    whole = labels() == 3
    seed = np.roll(whole, (2, -2), (0, 1))
    assert overlap(grab(frame(0), seed), whole) > max(overlap(seed, whole), 0.95)
    everywhere = np.ones(SIZE, bool)
    assert grab(frame(0), everywhere) is everywhere


def test_proposals_hold_every_object_and_only_the_foreground() -> None:
    near = [frame(-2), frame(2)]
    proposals = propose(frame(0), near, np.zeros(SIZE, np.float32), true_flow)
    for i in BOXES:
        assert max(overlap(p.mask, labels() == i) for p in proposals) > 0.85
    assert all(0 < p.score <= 1 for p in proposals)


def test_where_nothing_moves_the_object_level_map_decides() -> None:
    found = propose(frame(0), [], (labels() == 3).astype(np.float32), true_flow)
    assert overlap(found[0].mask, labels() == 3) > 0.85  # the whole comes first, boxes may cut parts of it
    assert not any(p.mask[:, :80].any() for p in found)
    assert propose(frame(0), [], np.zeros(SIZE, np.float32), true_flow) == []


def test_the_filter_drops_background_and_crumbs() -> None:
    evidence = np.zeros((50, 50))
    evidence[:, :25] = 1
    left, right, both, crumb = (np.zeros((50, 50), bool) for _ in range(4))
    left[10:20, 5:15] = right[10:20, 30:40] = both[10:20, 20:30] = crumb[0, :3] = True
    kept = filtered([Proposal(mask, 0.8) for mask in (left, right, both, crumb)], evidence)
    assert [p.score for p in kept] == [0.8, pytest.approx(0.4)]
    assert kept[0].mask is left and kept[1].mask is both
