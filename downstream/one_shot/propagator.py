"""One-shot video object segmentation: the first frame's labels travel along the affinity (MuG Sec. 3.3, Eq. 17)."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from downstream.backbones.by_name import open_backbone
from downstream.backbones.features import Extractor
from downstream.backbones.lattice import EVEN, Lattice, cells_of
from downstream.backbones.names import OURS
from downstream.one_shot.evidence import Seen, gather
from downstream.one_shot.motion import Motion
from downstream.one_shot.protocols import PRESETS, PropagationConfig
from mug.affinity.windowed import topk_attend
from mug.errors import InputError
from mug.frames import to_tensor
from mug.media.masks import VOID, as_ids
from mug.media.refine import refine


class Propagator:
    """Segments a video frame by frame; what it remembers does not grow with the length of the video.

    Attributes:
        latest: (L, h, w) probabilities of the latest frame propagated to, background first: on the grid of the
            features, or at working size where evidence joined them. `likely` gives them at any size.

    Example:
        >>> import mug
        >>> propagator = mug.Propagator()
        >>> frame = np.zeros((32, 48, 3), np.uint8)
        >>> mask = np.zeros((32, 48), np.uint8)
        >>> frame[8:24, 8:24], mask[8:24, 8:24] = 200, 3
        >>> first = propagator.step(frame, mask)
        >>> np.unique(propagator.step(frame)).tolist()
        [0, 3]

    Args:
        extract: Maps a frame to the features that are compared, on `device`; when not given, the matching head of the
            weights that come with the package.
        config: How labels travel; when not given, preset `mug` at the temperature that suits these weights.
        device: Where features and labels live.
        motion: What tells which parts of each frame move, where `config` asks for it: the past of the video by default.
    """

    def __init__(
        self,
        extract: Extractor | None = None,
        config: PropagationConfig | None = None,
        device: torch.device | str = "cpu",
        motion: Motion | None = None,
    ) -> None:
        if extract is None:
            extract, suited = open_backbone(OURS, None, device)
            config = config or replace(PRESETS["mug"], temperature=suited or PRESETS["mug"].temperature)
        config = config or PRESETS["mug"]
        self._extract = extract
        said = cells_of(extract)
        self._where = said if config.cells == "backbone" else None
        if config.grid is not None and config.size is None:
            config = replace(config, size=config.grid * (said.stride if said else config.stride or 1))
        self._config = config
        self._evidence = gather(config.evidence, motion)
        self._device = torch.device(device)
        self.latest: Tensor | None = None
        self._size: tuple[int, ...] | None = None  # height and width of the video, once its first frame is there
        self._over = EVEN
        self._ids = [0]  # the object that each channel of the labels stands for; background first
        self._recent: deque[_Memory] = deque(maxlen=config.frames)
        self._anchors: list[_Anchor] = []

    @torch.inference_mode()
    def step(self, frame: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
        """Segments the next frame.

        Args:
            frame: HWC uint8 RGB, of one size throughout the video.
            mask: HW with objects 1..254, 255 where nobody knows; 0 and 255 alone are background and an object, as in
                files (`mug.media.masks.as_ids`). Needed with the first frame. In a later frame it adds the objects it
                shows, or sets those known already; all others keep what was propagated to them.

        Returns:
            HW uint8 mask with the ids of the given masks, 0 elsewhere.

        Raises:
            InputError: the first frame comes without an object, a frame is no RGB of 8 bits or changes its size, or a
                mask has no ids or not its frame's size.
        """
        self._check_frame(frame)
        mask = None if mask is None else as_ids(mask)
        if mask is not None and mask.shape != frame.shape[:2]:
            raise InputError(f"the mask is {_size(mask)} pixels, its frame {_size(frame)}: give them the same size")
        if mask is None and self._ids == [0]:
            raise InputError("the first frame shows no object: give its mask, with ids from 1")
        shown = fit_frame(frame, self._config)
        features = self._features(shown)
        self._over = Lattice(shown.shape[:2], self._where)
        seen = self._evidence.see(frame, features, self._over) if self._evidence else None
        propagated = None
        if self._ids != [0]:
            labels = self.latest = self._propagate(features)
            if self._evidence is not None and seen is not None:
                self.latest = self._evidence.join(seen, labels)
                labels = self._over.shrink(self.latest[None], labels.shape[-2:])[0].to(labels)
            propagated = self._assign(frame)
        if mask is None:
            assert propagated is not None
            self._recent.append(_Memory(features, self._remembered(labels, propagated)))
            return propagated
        return self._take(features, mask, propagated, seen)

    def _check_frame(self, frame: np.ndarray) -> None:
        if not isinstance(frame, np.ndarray) or frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
            kind = f"{getattr(frame, 'dtype', type(frame).__name__)} of shape {tuple(getattr(frame, 'shape', ()))}"
            raise InputError(f"the frame is {kind}: give RGB as uint8 of shape (H, W, 3), 0 to 255")
        self._size = self._size or frame.shape[:2]
        if frame.shape[:2] != self._size:
            first = f"{self._size[1]}x{self._size[0]}"
            raise InputError(f"the frame is {_size(frame)} pixels, the first was {first}: give all of them one size")

    def likely(self, size: tuple[int, ...]) -> Tensor:
        """(L, *size) probabilities of the latest frame propagated to, background first."""
        assert self.latest is not None
        over = self._over if self._evidence is None else EVEN  # what evidence joined is at pixels, not at cells
        return over.enlarge(self.latest[None], size)[0]

    def _take(
        self,
        features: Tensor,
        mask: np.ndarray,
        propagated: np.ndarray | None,
        seen: Seen | None,
    ) -> np.ndarray:
        """Remembers a frame with the mask that came with it, and gives the frame's complete mask."""
        given = [int(i) for i in np.unique(mask) if i not in (0, VOID)]
        if not given and propagated is None:
            raise InputError("the first mask shows no object: it needs ids from 1")
        merged = mask
        if propagated is not None:
            others = np.where(np.isin(propagated, given) & (mask != VOID), 0, propagated)
            merged = np.where(np.isin(mask, given), mask, others).astype(np.uint8)
        self._ids += [i for i in given if i not in self._ids]
        memory = _Memory(features, self._to_grid(merged, features))
        if self._evidence is not None and seen is not None:
            labels = labels_to_grid(merged, self._ids, seen.size)
            self._evidence.given(seen, labels, [self._ids.index(i) for i in given])
        # what was remembered of these objects, and of the places where they were not yet known, is out of date
        self._recent.clear()
        self._recent.extend([memory] * (self._config.first_copies if self._config.keep_first else 1))
        self._anchors = [anchor.without(given, self._ids) for anchor in self._anchors if anchor.objects - set(given)]
        if self._config.keep_first:
            self._anchors.append(_Anchor(memory, frozenset(given)))
        return np.where(merged == VOID, 0, merged).astype(np.uint8)

    def _features(self, frame: np.ndarray) -> Tensor:
        frame_b3hw = to_tensor(frame, device=self._device)
        features = self._extract(frame_b3hw)
        if features.ndim != 4 or len(features) != 1:
            raise InputError(
                f"the backbone gave features of shape {tuple(features.shape)}; it has to give (1, C, h, w)"
            )
        return (F.normalize(features, dim=1) if self._config.unit else features)[0]

    def _propagate(self, query_chw: Tensor) -> Tensor:
        """Eq. 17: the labels (L, h, w) that the memory's cells vote for."""
        config = self._config
        memory = [a.memory for a in self._anchors] + list(self._recent)
        radius = [self._reach(config.first_radius, query_chw)] * len(self._anchors)
        radius += [self._reach(config.radius, query_chw)] * len(self._recent)
        values = [F.pad(m.labels, (0, 0, 0, 0, 0, len(self._ids) - len(m.labels))) for m in memory]

        def vote(chosen: slice) -> Tensor:
            return topk_attend(
                query_chw,
                torch.stack([m.features for m in memory[chosen]]),
                torch.stack(values[chosen]),
                k=config.top_k,
                radius=radius[chosen],
                temperature=config.temperature,
                window=config.window,
                renormalise=config.votes == "joint",
            )

        if config.votes == "joint":
            labels = vote(slice(None))
        else:
            labels = torch.stack([vote(slice(i, i + 1)) for i in range(len(memory))]).mean(0)
        if config.stretch == "memory":
            return stretched(labels)
        # void has no vote; what it leaves to the others is brought back to one, or it would fade from frame to frame
        return labels / labels.sum(0, keepdim=True).clamp_min(1e-6)

    def _reach(self, radius: float | None, query_chw: Tensor) -> float | None:
        if radius is None or self._config.radius_in == "cells":
            return radius
        return max(1, round(radius * min(query_chw.shape[1:])))

    def _remembered(self, labels_lhw: Tensor, mask: np.ndarray) -> Tensor:
        if self._config.labels == "mask":
            return self._to_grid(mask, labels_lhw)
        if self._config.labels == "hard":
            return F.one_hot(labels_lhw.argmax(0), len(labels_lhw)).permute(2, 0, 1).to(labels_lhw)
        if self._config.sharpen == 1:
            return labels_lhw
        sharp = labels_lhw**self._config.sharpen
        return sharp / sharp.sum(0, keepdim=True).clamp_min(1e-6)

    def _to_grid(self, mask: np.ndarray, like: Tensor) -> Tensor:
        how = self._config.first_labels
        if how == "bilinear":
            mask = _nearest(mask, self._over.frame)
        return labels_to_grid(mask, self._ids, like.shape[-2:], how, self._over).to(like.device)

    def _assign(self, frame: np.ndarray) -> np.ndarray:
        """The frame's mask at its own resolution."""
        assert self.latest is not None
        config, size = self._config, frame.shape[:2]
        labels = self.latest
        if config.argmax_at != "cells":
            labels = self.likely(size if config.argmax_at == "frame" else tuple(self._over.frame))
        if config.stretch == "result":
            labels = stretched(labels)
        if config.refine != "none":
            shares = labels.clamp(0, 1).cpu().numpy()
            labels = torch.from_numpy(np.stack([refine(frame, share, config.refine) for share in shares]))
        best = labels.max(0).indices  # what argmax gives, several times as fast on a CPU
        if config.argmax_at == "cells" and self._over.cells is not None:
            best = self._over.enlarge(best[None, None].float(), size, "nearest")[0, 0].long()
        mask = np.array(self._ids, np.uint8)[best.cpu().numpy()]
        return mask if mask.shape == size else _nearest(mask, size)


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


def fit_frame(frame: np.ndarray, config: PropagationConfig) -> np.ndarray:
    """A frame, HWC uint8, at the size that features are extracted from it."""
    if config.size is None:
        return frame
    shorter, longer = sorted(frame.shape[:2])
    proportional = config.size * longer / shorter / config.multiple
    long_side = {
        "nearest": max(1, round(proportional)) * config.multiple,
        "down": max(1, math.floor(proportional)) * config.multiple,
        "up": math.ceil(proportional) * config.multiple,
        "square": config.size,
    }[config.longer]
    height, width = (config.size, long_side) if frame.shape[0] == shorter else (long_side, config.size)
    if (height, width) == frame.shape[:2]:
        return frame
    if config.resample == "cubic":
        return np.array(Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC))
    shrinks = config.resample == "area" and height <= frame.shape[0] and width <= frame.shape[1]
    return cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def labels_to_grid(
    mask: np.ndarray,
    ids: list[int],
    grid: tuple[int, ...],
    how: Literal["area", "bilinear", "nearest"] = "area",
    over: Lattice = EVEN,
) -> Tensor:
    """What each object has of every cell.

    Args:
        mask: HW uint8; pixels of ids that are not asked for (void) count for no object.
        ids: The objects, background included.
        grid: (h, w) cells.
        how: The share of the cell that the object covers (`area`), or its label at the cell's centre, interpolated
            between the four pixels around it (`bilinear`) or not (`nearest`).
        over: Where the cells lie in the frame.

    Returns:
        (len(ids), h, w) float32; a cell without void sums to one.
    """
    one_hot = torch.from_numpy(np.stack([mask == i for i in ids]).astype(np.float32))[None]
    return over.shrink(one_hot, grid, how)[0]


def stretched(labels_lhw: Tensor) -> Tensor:
    """Each object's map (h, w) of a distribution (L, h, w), brought to [0, 1] over the frame; a constant one is 0."""
    low, high = labels_lhw.amin((1, 2), keepdim=True), labels_lhw.amax((1, 2), keepdim=True)
    return (labels_lhw - low) / (high - low).clamp_min(1e-12)


def _nearest(mask: np.ndarray, size: Sequence[int]) -> np.ndarray:
    return np.array(Image.fromarray(mask).resize((size[1], size[0]), Image.Resampling.NEAREST))


def _size(image: np.ndarray) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"
