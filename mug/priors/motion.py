"""Foreground by motion relative to the camera, made consistent over the whole video."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree

from mug.media.video import Video
from mug.priors.consensus import bend, by_frame, chunks, colour_model, otsu, scale_top, to_bytes
from mug.priors.saliency import centre_prior, saliency
from mug.priors.superpixels import Superpixels, shrink, superpixels

WORKING_SIDE = 240
"""Shorter side of the resized frames."""
PIECE_AREA = 130
"""Pixels per superpixel at working size."""
STILL = 0.1
"""Residual motion, in pixels per frame at working size, below which a frame counts as still."""
STILL_EVIDENCE = 0.1
"""Evidence of motion everywhere in a still frame: low, so that moving frames, if any, decide."""
KEEP = 0.1
"""Weight of a piece's own evidence against that of the pieces it is linked to through time."""
ROUNDS = 30
"""Iterations of this propagation."""
LINKS = 3
"""Number of pieces of the next frame that a piece is linked to."""
LINK_PLACE, LINK_COLOUR = 0.03, 10.0
"""Scales of the distance between linked pieces: share of the frame's height, distance in CIE Lab."""
VIDEO_SHARE = 0.3
"""Weight of the video's threshold against the frame's own, in the mean of their logarithms."""


def motion_prior(video: Video, indices: Sequence[int] | None = None) -> Iterator[np.ndarray]:
    """Soft foreground maps from motion, saliency and colour, HW uint8 at the video's size.

    The evidence is motion relative to the background, times a weak prior of saliency and centre. It is propagated
    through time along the flow, sharpened by a colour model of the whole video learned from the result, and propagated
    again. If nothing moves, as in videos of one frame, saliency decides.

    Args:
        video: The video.
        indices: Frames to compute maps for; None for all.
    """
    return agreed_maps(video, indices, lambda seen: seen.evidence)


def agreed_maps(
    video: Video, indices: Sequence[int] | None, evidence: Callable[[Look], np.ndarray]
) -> Iterator[np.ndarray]:
    """Consistent maps from per-frame evidence of any kind; see `motion_prior`.

    Args:
        video: The video.
        indices: Frames to compute maps for; None for all.
        evidence: Returns (n,) in [0, 1] for the superpixels of a frame.
    """
    frames = _Frames(video)
    for chunk in chunks(range(len(video)) if indices is None else indices):
        yield from _maps(frames, chunk, evidence)


def _maps(frames: _Frames, chunk: Sequence[int], evidence: Callable[[Look], np.ndarray]) -> Iterator[np.ndarray]:
    """The maps of a run of frames; intermediate results are freed before the next run."""
    looks = [look(*frames.around(index)) for index in chunk]
    looks = [replace(seen, evidence=evidence(seen)) for seen in looks]
    for seen, soft in zip(looks, agree(looks, chunk), strict=True):
        yield finish(soft, seen, frames.video.size)


@dataclass(frozen=True)
class Look:
    """Superpixels of one frame with their features.

    Attributes:
        frame: (H, W, 3) uint8 RGB at working size.
        pieces: The n superpixels.
        lab: (n, 3) mean CIE Lab colours.
        place: (n, 2) centres (x, y) in frame heights.
        velocity: (n, 2) flow to the next frame, in frame heights.
        evidence: (n,) in [0, 1], motion times saliency.
    """

    frame: np.ndarray
    pieces: Superpixels
    lab: np.ndarray
    place: np.ndarray
    velocity: np.ndarray
    evidence: np.ndarray


class _Frames:
    """Frames at working size; the last few are cached, as each is used with its neighbours."""

    def __init__(self, video: Video) -> None:
        self.video = video
        self._kept: dict[int, np.ndarray] = {}

    def small(self, index: int) -> np.ndarray:
        if index not in self._kept:
            self._kept[index] = shrink(self.video[index], WORKING_SIDE)
            if len(self._kept) > 4:
                del self._kept[next(iter(self._kept))]
        return self._kept[index]

    def around(self, index: int) -> tuple[np.ndarray, dict[int, np.ndarray]]:
        """A frame and its neighbours, by offset in frames (-1 and 1)."""
        # in temporal order, since reading a video file backwards is slow
        near = {by: self.small(index + by) for by in (-1, 0, 1) if 0 <= index + by < len(self.video)}
        return near.pop(0), near


def look(frame: np.ndarray, near: Mapping[int, np.ndarray]) -> Look:
    """Segments a frame into superpixels and computes their features and evidence.

    Args:
        frame: (H, W, 3) uint8 RGB at working size.
        near: Neighbouring frames by offset in frames (-1 and 1).
    """
    import cv2

    height, width = frame.shape[:2]
    pieces = superpixels(frame, height * width // PIECE_AREA, compactness=15, iterations=6)
    flows = {offset: optical_flow(frame, other) for offset, other in near.items()}
    residual = [without_camera(flow) for flow in flows.values()]
    salient = cv2.resize(saliency(frame), (width, height), interpolation=cv2.INTER_LINEAR)
    cue = 0.2 + 0.5 * pieces.mean(salient) + 0.5 * centre_prior(pieces)
    velocity = (
        np.mean([offset * flow for offset, flow in flows.items()], axis=0) if flows else np.zeros((height, width, 2))
    )
    lab = cv2.cvtColor(frame.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return Look(
        frame,
        pieces,
        pieces.mean(lab),
        pieces.centres() * [width / height, 1],
        pieces.mean(velocity) / height,
        moving(pieces, residual) * cue,
    )


def optical_flow(frame: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(H, W, 2) flow in pixels between two (H, W, 3) uint8 frames, by DIS (Kroeger et al. 2016)."""
    import cv2

    start = np.zeros((*frame.shape[:2], 2), np.float32)
    if min(frame.shape[:2]) < 16:  # too small for the patches of DIS
        return start
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow.setFinestScale(0)  # full resolution: accurate outlines of moving objects are worth several points
    return flow.calc(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.cvtColor(other, cv2.COLOR_RGB2GRAY), start)


def without_camera(flow: np.ndarray, step: int = 8) -> np.ndarray:
    """Flow minus that of the background, a homography fitted robustly to samples of the flow.

    Args:
        flow: (H, W, 2) float32 in pixels.
        step: Pixels between the samples.
    """
    import cv2

    grid = np.stack(np.meshgrid(*(np.arange(n, dtype=np.float32) for n in flow.shape[1::-1])), axis=-1)
    points = grid[step // 2 :: step, step // 2 :: step].reshape(-1, 1, 2)
    moved = points + flow[step // 2 :: step, step // 2 :: step].reshape(-1, 1, 2)
    if len(points) < 8:
        return flow
    cv2.setRNGSeed(0)
    homography, _ = cv2.findHomography(points, moved, cv2.RANSAC, 1.0, maxIters=500)
    if homography is None:
        return flow
    return flow - (cv2.perspectiveTransform(grid, homography) - grid)


def moving(pieces: Superpixels, residual: Sequence[np.ndarray]) -> np.ndarray:
    """Motion of each piece relative to the background, and relative to the paths from it to the border of the frame.

    The second removes near ground and rocks, which deviate from the homography but are connected to the border without
    a jump in the flow. Both are minima over the neighbouring frames, so that occlusion in one of them does not count.

    Args:
        pieces: The n superpixels.
        residual: (H, W, 2) flow to each neighbouring frame minus that of the camera.

    Returns:
        (n,) in [0, 1].
    """
    speed = np.min([np.linalg.norm(flow, axis=-1) for flow in residual], axis=0) if residual else np.zeros((1, 1))
    fastest = float(np.percentile(speed, 99))
    if fastest < STILL:
        return np.full(pieces.count, STILL_EVIDENCE)
    inside = scale_top(np.min([barrier(pieces, pieces.mean(flow) / fastest) for flow in residual], axis=0))
    return np.sqrt(np.minimum(pieces.mean(speed) / fastest, 1) * inside)


def barrier(pieces: Superpixels, flow: np.ndarray) -> np.ndarray:
    """(n,) smallest sum of jumps of the (n, 2) flow along a path from each piece to the border of the frame."""
    i, j = pieces.edges().T
    jump = np.linalg.norm(flow[i] - flow[j], axis=1) + 1e-4
    graph = sparse.csr_matrix((jump, (i, j)), (pieces.count, pieces.count))
    return dijkstra(graph, directed=False, indices=pieces.border(), min_only=True)


def agree(looks: Sequence[Look], indices: Sequence[int]) -> list[np.ndarray]:
    """Makes the evidence of all frames consistent.

    Args:
        looks: Superpixels and evidence of each frame.
        indices: Indices of the frames.

    Returns:
        A (n,) soft map in [0, 1] over the superpixels of each frame, with its threshold at 0.5.
    """
    counts = [seen.pieces.count for seen in looks]
    evidence = np.concatenate([seen.evidence for seen in looks])
    links = time_links(looks, indices)
    first = np.concatenate(centre(by_frame(pass_on(evidence, links), counts)))
    colour = colour_model(np.concatenate([seen.lab for seen in looks]), first)
    return centre(by_frame(pass_on(evidence * (0.2 + colour), links), counts))


def time_links(looks: Sequence[Look], indices: Sequence[int]) -> sparse.csr_matrix:
    """(N, N) with rows that sum to 1 (or 0): links pieces to those of similar colour at their position under the flow.

    Links connect each frame to the next and the previous one of `indices`, in both directions.
    """
    first = np.cumsum([0, *(seen.pieces.count for seen in looks)])
    rows, columns, weights = [np.zeros(0, int)], [np.zeros(0, int)], [np.zeros(0)]
    for here in range(len(looks)):
        for there in (here - 1, here + 1):
            if not 0 <= there < len(looks):
                continue
            near, far = looks[here], looks[there]
            gap = indices[there] - indices[here]
            expected = np.hstack([(near.place + gap * near.velocity) / LINK_PLACE, near.lab / LINK_COLOUR])
            tree = cKDTree(np.hstack([far.place / LINK_PLACE, far.lab / LINK_COLOUR]))
            distance, match = tree.query(expected, k=range(1, min(LINKS, far.pieces.count) + 1))
            rows.append(np.repeat(np.arange(first[here], first[here + 1]), match.shape[1]))
            columns.append(first[there] + match.ravel())
            weights.append(np.exp(-(distance.ravel() ** 2) / 2))
    size = (first[-1], first[-1])
    graph = sparse.csr_matrix((np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns))), size)
    graph = graph + graph.T
    total = np.asarray(graph.sum(axis=1)).ravel()
    return sparse.diags(1 / np.maximum(total, 1e-9)) @ graph


def pass_on(evidence: np.ndarray, links: sparse.csr_matrix) -> np.ndarray:
    """Propagates evidence along the links; each piece keeps a share of its own."""
    soft = evidence
    for _ in range(ROUNDS):
        soft = KEEP * evidence + (1 - KEEP) * (links @ soft)
    return soft


def centre(frames: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Scales the map of each frame to [0, 1] with its threshold, Otsu's of frame and video combined, at 0.5."""

    def threshold(values: np.ndarray) -> float:
        top = max(float(np.percentile(values, 99.5)), 1e-9)
        return otsu(values / top) * top

    video = threshold(np.concatenate(frames))
    maps = []
    for values in frames:
        level = threshold(values) ** (1 - VIDEO_SHARE) * video**VIDEO_SHARE
        top = max(float(np.percentile(values, 99.5)), 1.02 * level, 1e-9)
        maps.append(bend(values / top, level / top))
    return maps


def finish(soft: np.ndarray, seen: Look, size: tuple[int, int]) -> np.ndarray:
    """Aligns a (n,) map over superpixels with the edges of its frame and resizes it to the video's size, as uint8."""
    import cv2

    map_hw = soft[seen.pieces.labels].astype(np.float32)
    smooth = cv2.ximgproc.guidedFilter(seen.frame, map_hw, 4, 1e-3 * 255**2)
    return to_bytes(cv2.resize(smooth, size[::-1], interpolation=cv2.INTER_LINEAR))
