"""Telling the objects of a video apart that comes without any mask (instance-level Z-VOS; MuG Sec. 3.3, AGNN Sec. 4.1).

Frame by frame: proposals are made, the object-level map drops those of the background, and what is left is linked to
the tracks of the frames before. A track that is known only from the middle of a video on would miss its beginning, so
that the linker first goes through the first frames backwards.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import cv2
import numpy as np
import torch

from downstream.instances.flow import FlowMethod, flow_method
from downstream.instances.linking import Linker
from downstream.instances.options import InstanceConfig
from downstream.instances.proposals import Proposal, propose
from mug.media.pictures import fit_size
from mug.media.video import Video

WARM_UP = 24
"""Frames that are gone through backwards first."""
GAP = 2
"""Motion is seen to the frames so far before and after: what hardly moves shows over two frames."""
HELD = WARM_UP + 2 * GAP
"""Frames at working size that are held: those that are gone through twice, and those around the latest."""


Proposer = Callable[[np.ndarray, list[np.ndarray], np.ndarray, FlowMethod], list[Proposal]]
"""Frame, frames near it, object-level map (H, W), optical flow -> proposals of foreground objects."""
Carrier = Callable[[Video, np.ndarray], Iterator[np.ndarray]]
"""Video and mask of its first frame -> masks (H, W) uint8 of all its frames: O-VOS."""


class Instances:
    """Turns object-level maps into masks with an id for each object.

    Args:
        config: How.
        device: Where networks compute, if any are used.
        carrier: O-VOS, which `config.propagate` needs.

    Raises:
        InputError: settings out of range, or weights that cannot be used.
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
        """Tells the objects of a video apart.

        All frames are worked off before the first mask is given, since which tracks are kept shows at the end; until
        then labels wait on disk. Memory does not grow with the length of the video.

        Args:
            video: At least one frame.
            maps: The object-level foreground probability (H, W) of each frame, in order.

        Yields:
            (H, W) uint8 masks at the video's own size: 0 background, ids from 1, the surest track first. An object has
            one id throughout, and no pixel has two.

        Raises:
            InputError: a frame that cannot be read.
        """
        scene = _Scene(video, maps, self._config.size, self._flow, self._detector)
        linked = self._linked(scene)
        if self._carrier is not None and self._config.propagate:
            labels = next(linked)
            ranks = ranking(scores_of(labels, scene.foreground(0)), self._config.tracks)
            first = enlarged(renamed(labels, ranks), video.size)
            scene.drain()
            yield from self._carrier(video, first) if first.any() else (np.zeros_like(first) for _ in video)
            return
        scores: Counter[int] = Counter()
        with tempfile.TemporaryFile() as waiting:
            for index, labels in enumerate(linked):
                scores.update(scores_of(labels, scene.foreground(index)))
                waiting.write(labels.tobytes())
            ranks = ranking(scores, self._config.tracks)
            waiting.seek(0)
            for _ in range(len(video)):
                labels = np.frombuffer(waiting.read(labels.nbytes), np.int32).reshape(scene.size)
                yield enlarged(renamed(labels, ranks), video.size)

    def _linked(self, scene: _Scene) -> Iterator[np.ndarray]:
        """(h, w) int32 tracks of each frame, in order."""
        linker, length = Linker(), len(scene)
        ahead = min(WARM_UP, length)
        for index in range(ahead - 1, -1, -1):
            flow = self._flow(scene.frame(index), scene.frame(index + 1)) if index < ahead - 1 else None
            linker.step(scene.frame(index), scene.proposals(index), flow)
        for index in range(length):
            flow = self._flow(scene.frame(index), scene.frame(index - 1)) if index else None
            yield linker.step(scene.frame(index), scene.proposals(index), flow)


class _Scene:
    """Frames, object-level maps and proposals at working size; read once, in order, the latest are held."""

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
        """(h, w, 3) uint8 RGB."""
        return self._look(index)[0]

    def foreground(self, index: int) -> np.ndarray:
        """(h, w) float32 in [0, 1]."""
        return self._look(index)[1]

    def proposals(self, index: int) -> list[Proposal]:
        """What may be an object of the foreground; made once, as the first frames are asked for it twice."""
        self._look(index)
        if index not in self._proposed:
            near = [self.frame(i) for i in (index - GAP, index + GAP) if 0 <= i < self._length]
            self._proposed[index] = propose(self.frame(index), near, self.foreground(index), self._flow)
            _forget(self._proposed)
        return self._proposed[index]

    def drain(self) -> None:
        """Reads on to the end: the maps of all frames are made, whoever else wants them."""
        for _ in self._source:
            pass

    def _look(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        while index not in self._seen:
            number, (frame, map_hw) = next(self._source)
            small = [cv2.resize(x, self.size[::-1], interpolation=cv2.INTER_AREA) for x in (frame, map_hw)]
            self._seen[number] = small[0], small[1]
            _forget(self._seen)
            if self._detector is not None:  # while the frame is there in its own size
                found = self._detector(frame, [], map_hw, self._flow)
                self._proposed[number] = [Proposal(reduced(mask, self.size), score) for mask, score in found]
                _forget(self._proposed)
        return self._seen[index]


def _forget(held: dict[int, Any]) -> None:
    if len(held) > HELD:
        del held[next(iter(held))]


def scores_of(labels: np.ndarray, foreground: np.ndarray) -> dict[int, float]:
    """What a frame says for each track: the root of its foreground's area, a length, so that size is not all.

    Args:
        labels: (H, W) int32 tracks.
        foreground: (H, W) object-level map in [0, 1].
    """
    weight = np.bincount(labels.ravel(), foreground.ravel())
    return {int(track): float(np.sqrt(weight[track])) for track in np.flatnonzero(np.bincount(labels.ravel())) if track}


def ranking(scores: Mapping[int, float], most: int) -> dict[int, int]:
    """Ids of the `most` best tracks, from 1 for the best."""
    best = sorted(scores, key=lambda track: (-scores[track], track))[:most]
    return {track: rank for rank, track in enumerate(best, 1)}


def renamed(labels: np.ndarray, names: Mapping[int, int]) -> np.ndarray:
    """(H, W) uint8: the labels under their new names, 0 for those that have none."""
    table = np.zeros(int(labels.max()) + 1, np.uint8)
    for old, new in names.items():
        if old < len(table):
            table[old] = new
    return table[labels]


def reduced(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A mask (H, W) bool at a smaller size: what it covers by half."""
    return cv2.resize(mask.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA) >= 0.5


def enlarged(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A mask (H, W) uint8 at another size, its outlines smooth: each pixel goes to the id that weighs most there."""
    if mask.shape == size:
        return mask
    ids = np.unique(mask)
    shares = [cv2.resize((mask == i).astype(np.float32), size[::-1], interpolation=cv2.INTER_LINEAR) for i in ids]
    return ids[np.argmax(shares, axis=0)]
