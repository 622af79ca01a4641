"""Tracks: ids stay with their objects."""

from __future__ import annotations

import numpy as np

from downstream.instances.linking import BRIEF, FORGOTTEN, Linker, carry, histogram, likeness
from downstream.instances.proposals import Proposal

SIZE = (48, 96)
COLOURS = np.array([(90, 90, 90), (220, 40, 40), (40, 200, 60), (50, 60, 230)], np.uint8)


def square(x: int, y: int, side: int = 12) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[max(y, 0) : y + side, max(x, 0) : x + side] = True
    return mask


def paint(labels: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 12, (*SIZE, 3), dtype=np.uint8)
    return COLOURS[labels] + noise


def constant(dx: float) -> np.ndarray:
    """Flow to the frame before of a scene that moves dx pixels a frame."""
    return np.broadcast_to(np.float32([-dx, 0]), (*SIZE, 2))


def owner(labels: np.ndarray, mask: np.ndarray) -> int:
    """The track that most of a mask belongs to."""
    return int(np.bincount(labels[mask]).argmax())


def test_the_flow_carries_what_overlap_alone_would_lose() -> None:
    """The square moves by its own width, so that its successor does not touch it."""
    linker = Linker()
    ids = []
    for t in range(4):
        mask = square(4 + 14 * t, 10)
        labels = linker.step(paint(mask.astype(int)), [Proposal(mask, 1.0)], constant(14) if t else None)
        ids.append(owner(labels, mask))
    assert ids == [1, 1, 1, 1]
    still = Linker()
    for t in range(2):
        mask = square(4 + 14 * t, 10)
        labels = still.step(paint(mask.astype(int)), [Proposal(mask, 1.0)], constant(0) if t else None)
    assert owner(labels, square(18, 10)) == 2


def test_no_two_tracks_share_a_proposal() -> None:
    """Two squares run into one proposal: it goes to one, the other fades, and both have their ids when they part."""
    linker = Linker()
    left, right = square(20, 10), square(40, 10)
    frame = paint(left + 2 * right)
    first = linker.step(frame, [Proposal(left, 1.0), Proposal(right, 1.0)], None)
    linker.step(frame, [Proposal(left | right, 1.0)], constant(0))
    last = linker.step(frame, [Proposal(right, 1.0), Proposal(left, 1.0)], constant(0))
    for mask in (left, right):
        assert owner(first, mask) == owner(last, mask) > 0
    assert owner(last, left) != owner(last, right)


def test_ids_stay_with_their_objects_through_an_occlusion() -> None:
    """Three squares cross; two of them are hidden, one briefly, one so long that only its colours can find it again."""
    linker = Linker()
    hidden = {2: range(5, 5 + BRIEF), 3: range(4, 4 + BRIEF + 5)}
    assert len(hidden[3]) < FORGOTTEN
    seen: dict[int, list[int]] = {1: [], 2: [], 3: []}
    for t in range(20):
        masks = {1: square(4 + 3 * t, 4), 2: square(40, 18), 3: square(80 - 3 * t, 32)}
        shown = {i: mask for i, mask in masks.items() if t not in hidden.get(i, ())}
        labels = np.zeros(SIZE, int)
        flow = np.zeros((*SIZE, 2), np.float32)
        for i, mask in shown.items():
            labels[mask] = i
            flow[mask] = ({1: -3, 2: 0, 3: 3}[i], 0)
        out = linker.step(paint(labels), [Proposal(mask, 1.0) for mask in shown.values()], flow if t else None)
        for i, mask in shown.items():
            seen[i].append(owner(out, mask))
    assert all(len(set(tracks)) == 1 and tracks[0] > 0 for tracks in seen.values())
    assert len({tracks[0] for tracks in seen.values()}) == 3


def test_a_lost_track_is_not_taken_up_by_something_of_other_colours() -> None:
    linker = Linker()
    red, blue = square(10, 10), square(60, 30)
    linker.step(paint(red.astype(int)), [Proposal(red, 1.0)], None)
    for _ in range(BRIEF + 1):
        linker.step(paint(np.zeros(SIZE, int)), [], constant(0))
    labels = linker.step(paint(3 * blue), [Proposal(blue, 1.0)], constant(0))
    assert owner(labels, blue) == 2
    again = linker.step(paint(red + 3 * blue), [Proposal(red, 1.0), Proposal(blue, 1.0)], constant(0))
    assert (owner(again, red), owner(again, blue)) == (1, 2)


def test_what_is_long_gone_is_forgotten() -> None:
    linker = Linker()
    red = square(10, 10)
    for t in range(FORGOTTEN + 2):
        linker.step(paint(red.astype(int)), [] if t else [Proposal(red, 1.0)], constant(0) if t else None)
    assert linker.tracks == []
    assert owner(linker.step(paint(red.astype(int)), [Proposal(red, 1.0)], constant(0)), red) == 2


def test_what_a_track_covers_begins_no_other() -> None:
    linker = Linker()
    whole, part = square(10, 10, 20), square(14, 14, 8)
    frame = paint(whole.astype(int))
    linker.step(frame, [Proposal(part, 0.5), Proposal(whole, 1.0)], None)
    assert len(linker.tracks) == 1
    assert owner(linker.step(frame, [Proposal(whole, 1.0)], constant(0)), whole) == 1


def test_carry_reads_where_the_flow_points_and_nothing_outside() -> None:
    rng = np.random.default_rng(0)
    map_hw = rng.random((6, 9)).astype(np.float32)
    flow = rng.integers(-3, 4, (6, 9, 2)).astype(np.float32)
    moved = carry(map_hw, flow)
    for y, x in np.ndindex(6, 9):
        u, v = x + int(flow[y, x, 0]), y + int(flow[y, x, 1])
        inside = 0 <= u < 9 and 0 <= v < 6
        assert moved[y, x] == (map_hw[v, u] if inside else 0)


def test_likeness_of_colours() -> None:
    frame = paint(square(0, 0) + 3 * square(40, 0))
    red, blue = (histogram(frame, mask) for mask in (square(0, 0), square(40, 0)))
    assert red.sum() == np.float32(1)
    assert likeness(red, red) > 0.999
    assert likeness(red, blue) == 0.0
