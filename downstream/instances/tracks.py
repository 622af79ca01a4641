"""Instance-level Z-VOS: masks with an id for each object, without a given mask (MuG Sec. 3.3, AGNN Sec. 4.1).

In each frame, object proposals are generated, those in the background of the object-level map are dropped, and the rest
are linked to the existing tracks. The linker first runs backwards over the first frames, so that objects found later
there are tracked from the start.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import IO, Any

import cv2
import numpy as np
import torch

from downstream.instances.flow import FlowMethod, flow_method
from downstream.instances.linking import Linker
from downstream.instances.merging import merged
from downstream.instances.options import InstanceConfig
from downstream.instances.proposals import Proposal, propose
from mug.media.pictures import fit_size
from mug.media.video import Video

WARM_UP = 24
"""Number of first frames processed backwards beforehand."""
GAP = 2
"""Distance in frames for measuring motion, before and after; slow motion is visible over two frames."""
HELD = WARM_UP + 2 * GAP
"""Frames kept at working size: those processed twice, and the neighbours of the latest one."""


Proposer = Callable[[np.ndarray, list[np.ndarray], np.ndarray, FlowMethod], list[Proposal]]
"""Frame, nearby frames, object-level map (H, W), optical flow method -> proposals of foreground objects."""
Carrier = Callable[[Video, np.ndarray], Iterator[np.ndarray]]
"""O-VOS: video and mask of its first frame -> masks (H, W) uint8 of all frames."""


class Instances:
    """Converts object-level maps to masks with an id for each object.

    Args:
        config: Options of instance segmentation.
        device: Device of the networks, if any are used.
        carrier: O-VOS method, required by `config.propagate`.

    Raises:
        InputError: a setting is out of range, or weights cannot be used.
    """

    def __init__(self, config: InstanceConfig, device: torch.device, carrier: Carrier | None = None) -> None:
        config.check()
        self._config = config
        self._carrier = carrier
        self._flow = flow_method(config.raft, device)
        self._detector: Proposer | None = None
        if config.detector is not None:
            from downstream.instances.detector import load_detector

            self._detector = load_detector(config.detector, device)

    def __call__(self, video: Video, maps: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Segments the objects of a video.

        All frames are processed before the first mask is yielded, because the tracks to keep are known only at the end;
        label maps are buffered on disk. Memory does not grow with the length of the video.

        Args:
            video: A video of at least one frame.
            maps: Object-level map (H, W), the foreground probability, of each frame in order.

        Yields:
            (H, W) uint8 masks at the original size of the video: 0 background, ids from 1 in order of confidence. An
            object keeps its id throughout.

        Raises:
            InputError: a frame cannot be read.
        """
        if self._carrier is not None and self._config.propagate:
            yield from self._carried(video, maps, self._carrier)
            return
        scene = self._scene(video, maps)
        scores: Counter[int] = Counter()
        with tempfile.TemporaryFile() as waiting:
            for index, labels in enumerate(self._linked(scene)):
                scores.update(scores_of(labels, scene.foreground(index)))
                waiting.write(labels.tobytes())
            ranks = ranking(scores, self._config.tracks)
            waiting.seek(0)
            for _ in range(len(video)):
                labels = np.frombuffer(waiting.read(labels.nbytes), np.int32).reshape(scene.size)
                yield enlarged(renamed(labels, ranks), video.size)

    def _carried(self, video: Video, maps: Iterable[np.ndarray], carry: Carrier) -> Iterator[np.ndarray]:
        """The objects of the first frame in all frames, merged with the object-level masks unless options say not."""
        with tempfile.TemporaryFile() as waiting:
            scene = self._scene(video, _kept(maps, waiting))
            labels = next(self._linked(scene))
            ranks = ranking(scores_of(labels, scene.foreground(0)), self._config.tracks)
            first = enlarged(renamed(labels, ranks), video.size)
            scene.drain()
            waiting.seek(0)
            for mask in carry(video, first) if first.any() else (np.zeros_like(first) for _ in video):
                foreground = np.frombuffer(waiting.read(mask.size), bool).reshape(mask.shape)
                yield merged(mask, foreground) if self._config.merge else mask

    def _scene(self, video: Video, maps: Iterable[np.ndarray]) -> _Scene:
        return _Scene(video, maps, self._config.size, self._flow, self._detector)

    def _linked(self, scene: _Scene) -> Iterator[np.ndarray]:
        """(h, w) int32 track identities of each frame, in order."""
        linker, length = Linker(), len(scene)
        ahead = min(WARM_UP, length)
        for index in range(ahead - 1, -1, -1):
            flow = self._flow(scene.frame(index), scene.frame(index + 1)) if index < ahead - 1 else None
            linker.step(scene.frame(index), scene.proposals(index), flow)
        for index in range(length):
            flow = self._flow(scene.frame(index), scene.frame(index - 1)) if index else None
            yield linker.step(scene.frame(index), scene.proposals(index), flow)


class _Scene:
    """Frames, object-level maps and proposals at working size, read once and in order; only the latest are kept."""

    def __init__(
        self, video: Video, maps: Iterable[np.ndarray], shorter: int, flow: FlowMethod, detector: Proposer | None
    ) -> None:
        self.size = fit_size(video.size, shorter)
        self._length = len(video)
        self._flow, self._detector = flow, detector
        self._source = enumerate(zip(video, maps, strict=True))
        self._seen: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._proposed: dict[int, list[Proposal]] = {}

    def __len__(self) -> int:
        return self._length

    def frame(self, index: int) -> np.ndarray:
        """Frame (h, w, 3) uint8 RGB."""
        return self._look(index)[0]

    def foreground(self, index: int) -> np.ndarray:
        """Object-level map (h, w) float32 in [0, 1]."""
        return self._look(index)[1]

    def proposals(self, index: int) -> list[Proposal]:
        """Proposals of foreground objects; cached, because the first frames are processed twice."""
        self._look(index)
        if index not in self._proposed:
            near = [self.frame(i) for i in (index - GAP, index + GAP) if 0 <= i < self._length]
            self._proposed[index] = propose(self.frame(index), near, self.foreground(index), self._flow)
            _forget(self._proposed)
        return self._proposed[index]

    def drain(self) -> None:
        """Consumes the remaining maps, so that those of all frames are produced for other consumers."""
        for _ in self._source:
            pass

    def _look(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        while index not in self._seen:
            number, (frame, map_hw) = next(self._source)
            small = [cv2.resize(x, self.size[::-1], interpolation=cv2.INTER_AREA) for x in (frame, map_hw)]
            self._seen[number] = small[0], small[1]
            _forget(self._seen)
            if self._detector is not None:  # now, while the frame is at hand at its original size
                found = self._detector(frame, [], map_hw, self._flow)
                self._proposed[number] = [Proposal(reduced(mask, self.size), score) for mask, score in found]
                _forget(self._proposed)
        return self._seen[index]


def _kept(maps: Iterable[np.ndarray], file: IO[bytes]) -> Iterator[np.ndarray]:
    """The maps, whose masks are written to a file as they pass."""
    for map_hw in maps:
        file.write((map_hw > 0.5).tobytes())
        yield map_hw


def _forget(held: dict[int, Any]) -> None:
    if len(held) > HELD:
        del held[next(iter(held))]


def scores_of(labels: np.ndarray, foreground: np.ndarray) -> dict[int, float]:
    """Score of each track in a frame: the square root of its foreground area, so that large objects do not dominate.

    Args:
        labels: (H, W) int32 track identities.
        foreground: (H, W) object-level map in [0, 1].
    """
    weight = np.bincount(labels.ravel(), foreground.ravel())
    return {int(track): float(np.sqrt(weight[track])) for track in np.flatnonzero(np.bincount(labels.ravel())) if track}


def ranking(scores: Mapping[int, float], most: int) -> dict[int, int]:
    """Ids of the `most` best tracks, 1 for the best."""
    best = sorted(scores, key=lambda track: (-scores[track], track))[:most]
    return {track: rank for rank, track in enumerate(best, 1)}


def renamed(labels: np.ndarray, names: Mapping[int, int]) -> np.ndarray:
    """(H, W) uint8: the labels with their new ids, 0 for labels without one."""
    table = np.zeros(int(labels.max()) + 1, np.uint8)
    for old, new in names.items():
        if old < len(table):
            table[old] = new
    return table[labels]


def reduced(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A mask (H, W) bool at a smaller size: pixels that it covers by at least half."""
    return cv2.resize(mask.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA) >= 0.5


def enlarged(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes a mask (H, W) uint8 with smooth outlines: each pixel gets the id with the largest bilinear weight."""
    if mask.shape == size:
        return mask
    ids = np.unique(mask)
    shares = [cv2.resize((mask == i).astype(np.float32), size[::-1], interpolation=cv2.INTER_LINEAR) for i in ids]
    return ids[np.argmax(shares, axis=0)]
