"""Foreground by motion: what moves unlike the camera, agreed on over the whole video."""

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
"""Shorter side that frames are shrunk to."""
PIECE_AREA = 130
"""Pixels of a superpixel at working size."""
STILL = 0.1
"""Residual motion, in pixels a frame at working size, below which a frame is held for still."""
STILL_EVIDENCE = 0.1
"""Evidence of motion everywhere in a still frame: little, so that other frames decide where there are any."""
KEEP = 0.1
"""Share of its own evidence in what a piece and those it is linked to through time agree on."""
ROUNDS = 30
"""Rounds of that agreement."""
LINKS = 3
"""Pieces of the next frame that a piece is linked to."""
LINK_PLACE, LINK_COLOUR = 0.03, 10.0
"""How far linked pieces may lie apart: share of the frame's height, distance in CIE Lab."""
VIDEO_SHARE = 0.3
"""How much of the threshold (of its logarithm) is the video's; the rest is the frame's own."""


def motion_prior(video: Video, indices: Sequence[int] | None = None) -> Iterator[np.ndarray]:
    """Soft foreground maps from motion, saliency and colour, HW uint8 at the video's size.

    Evidence is motion against the background, times a mild prior of saliency and centre. It is passed on through time
    along the flow; a colour model of the whole video learned from that sharpens it; then it is passed on again. Where
    nothing moves, as in videos of one frame, saliency decides.

    Args:
        video: The video.
        indices: Frames that maps are wanted of; all when not given.
    """
    return agreed_maps(video, indices, lambda seen: seen.evidence)


def agreed_maps(
    video: Video, indices: Sequence[int] | None, evidence: Callable[[Look], np.ndarray]
) -> Iterator[np.ndarray]:
    """Makes one opinion of any evidence in the frames of a video, as `motion_prior` does of motion.

    Args:
        video: The video.
        indices: Frames that maps are wanted of; all when None.
        evidence: Gives (n,) in [0, 1] over the superpixels of a frame.
    """
    frames = _Frames(video)
    for chunk in chunks(range(len(video)) if indices is None else indices):
        yield from _maps(frames, chunk, evidence)


def _maps(frames: _Frames, chunk: Sequence[int], evidence: Callable[[Look], np.ndarray]) -> Iterator[np.ndarray]:
    """The maps of a run of frames; what was seen of them is given up before the next run is looked at."""
    looks = [look(*frames.around(index)) for index in chunk]
    looks = [replace(seen, evidence=evidence(seen)) for seen in looks]
    for seen, soft in zip(looks, agree(looks, chunk), strict=True):
        yield finish(soft, seen, frames.video.size)


@dataclass(frozen=True)
class Look:
    """What is seen in one frame, by its n superpixels.

    Attributes:
        frame: (H, W, 3) uint8 RGB at working size.
        pieces: The superpixels.
        lab: (n, 3) mean CIE Lab colours.
        place: (n, 2) centres (x, y) in heights of the frame.
        velocity: (n, 2) flow to the next frame, in heights of the frame.
        evidence: (n,) in [0, 1], motion times saliency.
    """

    frame: np.ndarray
    pieces: Superpixels
    lab: np.ndarray
    place: np.ndarray
    velocity: np.ndarray
    evidence: np.ndarray


class _Frames:
    """Frames at working size; the last few are kept, since each is looked at with its neighbours."""

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
        """A frame, and those before and after it, by how many frames later they are."""
        # in order of time, since reading a video file backwards is slow
        near = {by: self.small(index + by) for by in (-1, 0, 1) if 0 <= index + by < len(self.video)}
        return near.pop(0), near


def look(frame: np.ndarray, near: Mapping[int, np.ndarray]) -> Look:
    """Cuts a frame into superpixels and gathers its evidence.

    Args:
        frame: (H, W, 3) uint8 RGB at working size.
        near: Frames before and after it, by how many frames later they are.
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
    if min(frame.shape[:2]) < 16:  # too small for its patches
        return start
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow.setFinestScale(0)  # to the last pixel: the outlines of what moves are worth several points
    return flow.calc(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.cvtColor(other, cv2.COLOR_RGB2GRAY), start)


def without_camera(flow: np.ndarray, step: int = 8) -> np.ndarray:
    """Flow less that of the background, a homography fitted robustly to a grid of the flow.

    Args:
        flow: (H, W, 2) float32 in pixels.
        step: Pixels between the points of the grid.
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
    """How much each piece moves against the background, and against all that leads from it to the frame's border.

    The second drops near ground and rocks, which move unlike the homography but reach the border without a jump of the
    flow. Both are smallest over the other frames, so that what is covered in one of them does not count.

    Args:
        pieces: Superpixels, n of them.
        residual: (H, W, 2) flow to other frames less that of the camera.

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
    """(n,) least sum of jumps of the (n, 2) flow on a way from each piece to the border of the frame."""
    i, j = pieces.edges().T
    jump = np.linalg.norm(flow[i] - flow[j], axis=1) + 1e-4
    graph = sparse.csr_matrix((jump, (i, j)), (pieces.count, pieces.count))
    return dijkstra(graph, directed=False, indices=pieces.border(), min_only=True)


def agree(looks: Sequence[Look], indices: Sequence[int]) -> list[np.ndarray]:
    """Makes one opinion of the evidence of all frames.

    Args:
        looks: What is seen in each frame.
        indices: Which frames they are.

    Returns:
        A (n,) soft map in [0, 1] over the superpixels of each frame, cut at 0.5.
    """
    counts = [seen.pieces.count for seen in looks]
    evidence = np.concatenate([seen.evidence for seen in looks])
    links = time_links(looks, indices)
    first = np.concatenate(centre(by_frame(pass_on(evidence, links), counts)))
    colour = colour_model(np.concatenate([seen.lab for seen in looks]), first)
    return centre(by_frame(pass_on(evidence * (0.2 + colour), links), counts))


def time_links(looks: Sequence[Look], indices: Sequence[int]) -> sparse.csr_matrix:
    """(N, N) rows that sum to 1 (or 0): pieces are linked to those of like colour where the flow takes them.

    Links go from each frame to the next and the one before among `indices`, both ways.
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
    """Lets each piece take over what those it is linked to hold, and keep a share of its own evidence."""
    soft = evidence
    for _ in range(ROUNDS):
        soft = KEEP * evidence + (1 - KEEP) * (links @ soft)
    return soft


def centre(frames: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Scales the map of each frame to [0, 1] and brings its threshold, Otsu's of frame and video joined, to 0.5."""

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
    """Fits a (n,) map over superpixels to the edges of its frame and brings it to the video's size, as uint8."""
    import cv2

    map_hw = soft[seen.pieces.labels].astype(np.float32)
    smooth = cv2.ximgproc.guidedFilter(seen.frame, map_hw, 4, 1e-3 * 255**2)
    return to_bytes(cv2.resize(smooth, size[::-1], interpolation=cv2.INTER_LINEAR))
