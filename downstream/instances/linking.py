"""Links proposals of successive frames into tracks by overlap after warping along the optical flow, and by colour."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from downstream.instances.proposals import Proposal

OVERLAP = 0.25
"""Minimum IoU with the warped mask for a proposal to continue a track."""
APPEARANCE = 0.3
"""Weight of colour similarity (in [0, 1]) relative to that IoU."""
ALIKE = 0.75
"""Minimum colour similarity for a proposal to recover a lost track."""
RENEW = 0.35
"""Weight of the new proposal in a track's map; the rest is the map warped along the flow."""
FADE = 0.9
"""Factor on a track's map for each frame without a matching proposal."""
BRIEF = 6
"""Frames without a proposal after which a track is lost: it can be recovered by colour only, no longer by flow."""
FORGOTTEN = 20
"""Frames without a proposal after which a track ends."""
EXPLAINED = 0.5
"""Maximum share of a proposal covered by existing tracks for it to start a new one."""
DUPLICATE = 0.7
"""Maximum share of the smaller of two tracks that the larger may cover; the one with the higher record is kept."""
MOST = 40
"""Maximum number of simultaneous tracks."""
COLOURS = (6, 12, 12)
"""Bins of the Lab histograms."""


@dataclass
class Track:
    """A tracked object.

    Attributes:
        identity: Unique id within the video, from 1.
        map: (H, W) float32 in [0, 1], the soft mask in the latest frame.
        colours: Colour histogram; sums to one.
        record: Sum of the scores of its proposals.
        missed: Frames since its latest proposal.
    """

    identity: int
    map: np.ndarray
    colours: np.ndarray
    record: float
    missed: int = 0

    @property
    def lost(self) -> bool:
        """Whether the track can be recovered only by colour."""
        return self.missed > BRIEF

    def shape(self) -> np.ndarray:
        """(H, W) bool: the mask; while the map fades, the threshold is relative to its maximum."""
        return self.map > 0.5 * (float(self.map.max()) if self.missed else 1.0)


class Linker:
    """Tracks objects from frame to frame. Memory does not grow with the length of the video.

    Successive steps must be neighbouring frames, forwards or backwards.
    """

    def __init__(self) -> None:
        self.tracks: list[Track] = []
        self._begun = 0

    def step(self, frame: np.ndarray, proposals: Sequence[Proposal], flow: np.ndarray | None) -> np.ndarray:
        """Links the proposals of the next frame.

        Args:
            frame: (H, W, 3) uint8 RGB.
            proposals: Proposals of this frame; they may overlap.
            flow: (H, W, 2) from this frame to the one of the previous step, in pixels; None in the first step.

        Returns:
            (H, W) int32: the track identity of each pixel, 0 for none.
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
        """Assigns to each track at most one proposal, without sharing; returns the assigned proposals."""
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
        """Starts tracks from unexplained proposals, in order of score times the root of the area."""
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
        """Removes tracks that have been missing too long, and duplicates of better tracks."""
        kept: list[Track] = []
        for track in sorted(self.tracks, key=lambda track: -track.record):
            if track.missed <= FORGOTTEN and len(kept) < MOST and not any(same(track, other) for other in kept):
                kept.append(track)
        self.tracks = kept

    def _labels(self, size: tuple[int, int]) -> np.ndarray:
        labels, best = np.zeros(size, np.int32), np.full(size, 0.5, np.float32)
        for track in self.tracks:  # the one with the highest record first
            nearer = track.map > best
            labels[nearer], best[nearer] = track.identity, track.map[nearer]
        return labels


def affinity(track: Track, proposal: Proposal, colours: np.ndarray) -> float:
    """Affinity of a track and a proposal; 0 if the proposal cannot continue the track."""
    alike = likeness(track.colours, colours)
    if track.lost:
        return alike / 2 if alike > ALIKE else 0.0
    mask = track.shape()
    either = int(np.count_nonzero(mask | proposal.mask))
    shared = int(np.count_nonzero(mask & proposal.mask)) / either if either else 0.0
    return shared + APPEARANCE * alike if shared > OVERLAP else 0.0


def same(track: Track, other: Track) -> bool:
    """Whether two tracks cover the same object."""
    first, second = track.map > 0.5, other.map > 0.5
    smaller = min(first.sum(), second.sum())
    return bool(smaller) and bool((first & second).sum() > DUPLICATE * smaller)


def carry(map_hw: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Warps a map (H, W) of another frame to this one along this frame's flow (px); 0 outside."""
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
