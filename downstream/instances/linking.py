"""Linking proposals of successive frames into tracks: overlap after warping by optical flow, and appearance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from downstream.instances.proposals import Proposal

OVERLAP = 0.25
"""IoU with the warped mask from which a proposal can continue a track."""
APPEARANCE = 0.3
"""What likeness of colour (in [0, 1]) counts beside that overlap."""
ALIKE = 0.75
"""Likeness of colour from which a proposal can be a track that was lost."""
RENEW = 0.35
"""Share of the new proposal in a track's map; the rest is carried along the flow."""
FADE = 0.9
"""What is left of a track's map after a frame in which nothing continued it."""
BRIEF = 6
"""Frames without a proposal after which a track is lost: the flow no longer says where it is, only its colours do."""
FORGOTTEN = 20
"""Frames without a proposal after which a track ends."""
EXPLAINED = 0.5
"""Share of a proposal that tracks may cover if it begins a track of its own."""
DUPLICATE = 0.7
"""Share of the smaller of two tracks that the larger may cover; the one with the longer record stays."""
MOST = 40
"""Tracks that are followed at a time."""
COLOURS = (6, 12, 12)
"""Bins of the histograms of Lab."""


@dataclass
class Track:
    """An object as far as it was followed.

    Attributes:
        identity: Counts from 1 through the video; no two tracks share one.
        map: (H, W) float32 in [0, 1], where it is in the latest frame.
        colours: Its histogram, sums to one.
        record: Scores of all its proposals together.
        missed: Frames since the latest of them.
    """

    identity: int
    map: np.ndarray
    colours: np.ndarray
    record: float
    missed: int = 0

    @property
    def lost(self) -> bool:
        """Whether only its colours can find it again."""
        return self.missed > BRIEF

    def shape(self) -> np.ndarray:
        """(H, W) bool: the mask, also while it fades."""
        return self.map > 0.5 * (float(self.map.max()) if self.missed else 1.0)


class Linker:
    """Follows objects from frame to frame; what it remembers does not grow with the video.

    Frames may come in any order of neighbours, backwards too.
    """

    def __init__(self) -> None:
        self.tracks: list[Track] = []
        self._begun = 0

    def step(self, frame: np.ndarray, proposals: Sequence[Proposal], flow: np.ndarray | None) -> np.ndarray:
        """Links the next frame.

        Args:
            frame: (H, W, 3) uint8 RGB.
            proposals: Of this frame; they may overlap.
            flow: (H, W, 2) from this frame to the one of the step before, in pixels; None in the first step.

        Returns:
            (H, W) int32: the identity of the track that each pixel belongs to, 0 for none.
        """
        if flow is not None:
            for track in self.tracks:
                track.map = carry(track.map, flow)
        colours = [histogram(frame, proposal.mask) for proposal in proposals]
        used = self._continue(proposals, colours)
        self._begin([n for n in range(len(proposals)) if n not in used], proposals, colours)
        self._drop()
        return self._labels(frame.shape[:2])

    def _continue(self, proposals: Sequence[Proposal], colours: Sequence[np.ndarray]) -> set[int]:
        """Gives each track the proposal that suits it, none twice; which proposals were given."""
        worth = np.array([[affinity(k, p, c) for p, c in zip(proposals, colours, strict=True)] for k in self.tracks])
        given: dict[int, int] = {}
        if worth.size:
            pairs = zip(*linear_sum_assignment(-worth), strict=True)
            given = {int(k): int(n) for k, n in pairs if worth[k, n] > 0}
        for index, track in enumerate(self.tracks):
            if index not in given:
                track.missed += 1
                track.map *= FADE
                continue
            proposal, seen = proposals[given[index]], colours[given[index]]
            mask = proposal.mask.astype(np.float32)
            track.map = mask if track.lost else (1 - RENEW) * track.map + RENEW * mask
            track.colours = 0.9 * track.colours + 0.1 * seen
            track.record += proposal.score
            track.missed = 0
        return set(given.values())

    def _begin(self, free: Iterable[int], proposals: Sequence[Proposal], colours: Sequence[np.ndarray]) -> None:
        """Proposals that no track explains begin one, the surest and largest first."""
        known = [track.map > 0.5 for track in self.tracks if not track.lost]
        for n in sorted(free, key=lambda n: -proposals[n].score * np.sqrt(proposals[n].mask.sum())):
            mask, score = proposals[n]
            covered = np.any([mask & other for other in known], axis=0).sum() if known else 0
            if covered > EXPLAINED * mask.sum():
                continue
            self._begun += 1
            self.tracks.append(Track(self._begun, mask.astype(np.float32), colours[n], score))
            known.append(mask)

    def _drop(self) -> None:
        """Ends tracks that were not seen for long, and those that follow what a better one follows."""
        kept: list[Track] = []
        for track in sorted(self.tracks, key=lambda track: -track.record):
            if track.missed <= FORGOTTEN and len(kept) < MOST and not any(same(track, other) for other in kept):
                kept.append(track)
        self.tracks = kept

    def _labels(self, size: tuple[int, int]) -> np.ndarray:
        labels, best = np.zeros(size, np.int32), np.full(size, 0.5, np.float32)
        for track in self.tracks:  # the one with the longest record first
            nearer = track.map > best
            labels[nearer], best[nearer] = track.identity, track.map[nearer]
        return labels


def affinity(track: Track, proposal: Proposal, colours: np.ndarray) -> float:
    """What it is worth to continue a track with a proposal; 0 where it cannot."""
    alike = likeness(track.colours, colours)
    if track.lost:
        return alike / 2 if alike > ALIKE else 0.0
    mask = track.shape()
    either = int(np.count_nonzero(mask | proposal.mask))
    shared = int(np.count_nonzero(mask & proposal.mask)) / either if either else 0.0
    return shared + APPEARANCE * alike if shared > OVERLAP else 0.0


def same(track: Track, other: Track) -> bool:
    """Whether two tracks lie on one another."""
    first, second = track.map > 0.5, other.map > 0.5
    smaller = min(first.sum(), second.sum())
    return bool(smaller) and bool((first & second).sum() > DUPLICATE * smaller)


def carry(map_hw: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Reads a map (H, W) of another frame where the flow (px) of this one points to; 0 outside."""
    y, x = np.mgrid[: map_hw.shape[0], : map_hw.shape[1]].astype(np.float32)
    x, y = x + flow[..., 0], y + flow[..., 1]
    return cv2.remap(map_hw, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)


def histogram(frame: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Share of the pixels of a mask (H, W) bool in each bin of Lab."""
    lab = cv2.cvtColor(frame, cv2.COLOR_RGB2LAB)
    counts = cv2.calcHist([lab], [0, 1, 2], mask.astype(np.uint8), list(COLOURS), [0, 256] * 3).ravel()
    return counts / max(float(counts.sum()), 1.0)


def likeness(histogram: np.ndarray, other: np.ndarray) -> float:
    """Bhattacharyya coefficient of two histograms, in [0, 1]."""
    return float(np.sqrt(histogram * other).sum())
