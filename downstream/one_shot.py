"""One-shot video object segmentation: the first frame's labels travel along the affinity (MuG Sec. 3.3, Eq. 17)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal, NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from downstream.features import Extractor
from mug.affinity import topk_attend
from mug.errors import InputError
from mug.masks import VOID
from mug.refine import refine


@dataclass
class PropagationConfig:
    """How labels travel from the frames already segmented to the next one."""

    frames: int = 7
    """How many of the most recent frames are remembered."""
    keep_first: bool = True
    """Whether frames whose mask was given stay in the memory for good."""
    radius: float | None = 0.2
    """How far a cell looks in x and in y, as a share of the frame's shorter side; None: anywhere."""
    first_radius: float | None = 0.2
    """The same for the frames whose mask was given, which may be long past."""
    top_k: int | None = 5
    """The softmax spans only this many most similar cells of the whole memory; None: all of them."""
    temperature: float = 0.05
    """Divides the similarities before the softmax; it has to suit the spread of the features."""
    labels: Literal["soft", "hard"] = "soft"
    """Whether a frame's label is remembered as its distribution over objects or as the one it was assigned."""
    sharpen: float = 1.6
    """Power that soft labels are raised to before they are remembered: at 1 small objects fade from frame to frame,
    high powers turn into hard labels."""
    upsample: bool = True
    """Whether the distribution is upsampled before the argmax (smooth outlines) or the argmax after it (cells)."""
    size: int | None = None
    """Pixels of the frame's shorter side, as features are extracted from it; None: the frame's own size."""
    refine: Literal["none", "guided"] = "none"
    """Whether the upsampled distribution is pulled to the frame's edges by a guided filter."""


PRESETS: dict[str, PropagationConfig] = {
    # Eq. 17 to the letter: the frame before, a softmax over all of it, one label a cell
    "paper": PropagationConfig(
        frames=1, keep_first=False, radius=None, first_radius=None, top_k=None, labels="hard", upsample=False
    ),
    "memory": PropagationConfig(size=480),
}


class Propagator:
    """Segments a video frame by frame; what it remembers does not grow with the length of the video.

    Example:
        >>> from downstream.features import lab_features
        >>> propagator = Propagator(lab_features, PRESETS["memory"])
        >>> frame = np.zeros((32, 48, 3), np.uint8)
        >>> mask = np.zeros((32, 48), np.uint8)
        >>> frame[8:24, 8:24], mask[8:24, 8:24] = 200, 3
        >>> first = propagator.step(frame, mask)
        >>> np.unique(propagator.step(frame)).tolist()
        [0, 3]

    Args:
        extract: Maps a frame to the features that are compared, on `device`.
        config: How labels travel.
        device: Where features and labels live.
    """

    def __init__(self, extract: Extractor, config: PropagationConfig, device: torch.device | str = "cpu") -> None:
        self._extract = extract
        self._config = config
        self._device = torch.device(device)
        self._ids = [0]  # the object that each channel of the labels stands for; background first
        self._recent: deque[_Memory] = deque(maxlen=config.frames)
        self._anchors: list[_Anchor] = []

    @torch.inference_mode()
    def step(self, frame: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
        """Segments the next frame.

        Args:
            frame: HWC uint8 RGB, of one size throughout the video.
            mask: HW uint8 with objects 1..254, 255 where nobody knows. Needed with the first frame. In a later frame it
                adds the objects it shows, or sets those known already; all others keep what was propagated to them.

        Returns:
            HW uint8 mask with the ids of the given masks, 0 elsewhere.

        Raises:
            InputError: the first frame comes without an object, or a mask is not of its frame's size.
        """
        if mask is not None and mask.shape != frame.shape[:2]:
            raise InputError(f"the mask is {_size(mask)} pixels, its frame {_size(frame)}: give them the same size")
        features = self._features(frame)
        if mask is None and self._ids == [0]:
            raise InputError("the first frame shows no object: give its mask, with ids from 1")
        if self._ids == [0]:
            propagated = None
        else:
            values = self._propagate(features)
            propagated = self._assign(values, frame)
        if mask is None:
            assert propagated is not None
            self._recent.append(_Memory(features, self._remembered(values)))
            return propagated
        return self._take(features, mask, propagated)

    def _take(self, features: Tensor, mask: np.ndarray, propagated: np.ndarray | None) -> np.ndarray:
        """Remembers a frame with the mask that came with it, and gives the frame's complete mask."""
        given = [int(i) for i in np.unique(mask) if i not in (0, VOID)]
        if not given and propagated is None:
            raise InputError("the first mask shows no object: it needs ids from 1")
        merged = mask
        if propagated is not None:
            others = np.where(np.isin(propagated, given) & (mask != VOID), 0, propagated)
            merged = np.where(np.isin(mask, given), mask, others).astype(np.uint8)
        self._ids += [i for i in given if i not in self._ids]
        memory = _Memory(features, labels_to_grid(merged, self._ids, features.shape[-2:]).to(features.device))
        # what was remembered of these objects, and of the places where they were not yet known, is out of date
        self._recent.clear()
        self._recent.append(memory)
        self._anchors = [anchor.without(given, self._ids) for anchor in self._anchors if anchor.objects - set(given)]
        if self._config.keep_first:
            self._anchors.append(_Anchor(memory, frozenset(given)))
        return np.where(merged == VOID, 0, merged).astype(np.uint8)

    def _features(self, frame: np.ndarray) -> Tensor:
        scale = 1.0 if self._config.size is None else self._config.size / min(frame.shape[:2])
        if scale != 1.0:
            height, width = (max(1, round(side * scale)) for side in frame.shape[:2])
            shrinks = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
            frame = cv2.resize(frame, (width, height), interpolation=shrinks)
        frame_b3hw = torch.from_numpy(np.ascontiguousarray(frame)).to(self._device).permute(2, 0, 1)[None].float() / 255
        return self._extract(frame_b3hw)[0]

    def _propagate(self, query_chw: Tensor) -> Tensor:
        """Eq. 17: the labels (L, h, w) that the memory's cells vote for."""
        recent = [m for m in self._recent if all(m is not a.memory for a in self._anchors)]
        memory = [a.memory for a in self._anchors] + recent
        shares = [self._config.first_radius] * len(self._anchors) + [self._config.radius] * len(recent)
        shorter = min(query_chw.shape[1:])
        radius = [None if share is None else max(1, round(share * shorter)) for share in shares]
        values = [F.pad(m.labels, (0, 0, 0, 0, 0, len(self._ids) - len(m.labels))) for m in memory]
        labels = topk_attend(
            query_chw,
            torch.stack([m.features for m in memory]),
            torch.stack(values),
            k=self._config.top_k,
            radius=radius,
            temperature=self._config.temperature,
        )
        # void has no vote; what it leaves to the others is brought back to one, or it would fade from frame to frame
        return labels / labels.sum(0, keepdim=True).clamp_min(1e-6)

    def _remembered(self, labels_lhw: Tensor) -> Tensor:
        if self._config.labels == "soft":
            sharp = labels_lhw**self._config.sharpen
            return sharp / sharp.sum(0, keepdim=True).clamp_min(1e-6)
        return F.one_hot(labels_lhw.argmax(0), len(labels_lhw)).permute(2, 0, 1).to(labels_lhw)

    def _assign(self, labels_lhw: Tensor, frame: np.ndarray) -> np.ndarray:
        """The frame's mask at its own resolution."""
        size = frame.shape[:2]
        ids = np.array(self._ids, np.uint8)
        if not self._config.upsample:
            cells = labels_lhw.argmax(0)[None, None].float()
            return ids[F.interpolate(cells, size, mode="nearest-exact")[0, 0].long().cpu().numpy()]
        labels = F.interpolate(labels_lhw[None], size, mode="bilinear", align_corners=False)[0]
        if self._config.refine == "none":
            return ids[labels.argmax(0).cpu().numpy()]
        shares = labels.clamp(0, 1).cpu().numpy()
        return ids[np.stack([refine(frame, share, self._config.refine) for share in shares]).argmax(0)]


class _Memory(NamedTuple):
    features: Tensor
    """(C, h, w)"""
    labels: Tensor
    """(L, h, w); L is the number of objects known when the frame was seen."""


class _Anchor(NamedTuple):
    memory: _Memory
    objects: frozenset[int]
    """Those whose latest given mask this is; an anchor goes when it has none left, so there are never many."""

    def without(self, given: list[int], ids: list[int]) -> _Anchor:
        """This anchor once a later mask came: it votes for the objects that are still its own, and nothing else."""
        objects = self.objects - set(given)
        keep = torch.tensor([i in objects for i in ids[: len(self.memory.labels)]], device=self.memory.labels.device)
        return _Anchor(_Memory(self.memory.features, self.memory.labels * keep[:, None, None]), objects)


def labels_to_grid(mask: np.ndarray, ids: list[int], grid: tuple[int, ...]) -> Tensor:
    """The share of every cell that each object covers.

    Args:
        mask: HW uint8; pixels of ids that are not asked for (void) count for no object.
        ids: The objects, background included.
        grid: (h, w) cells.

    Returns:
        (len(ids), h, w) float32; a cell without void sums to one.
    """
    one_hot = torch.from_numpy(np.stack([mask == i for i in ids]).astype(np.float32))
    return F.adaptive_avg_pool2d(one_hot[None], (grid[0], grid[1]))[0]


def _size(image: np.ndarray) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"
