"""One-shot video object segmentation: propagates first-frame labels along the affinity (MuG Sec. 3.3, Eq. 17)."""

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
from mug.media.masks import VOID, as_ids, ids_of, with_given
from mug.media.refine import refine


class Propagator:
    """Segments a video frame by frame. Memory does not grow with the length of the video.

    Attributes:
        latest: (L, h, w) label probabilities of the latest propagated frame, background first: on the feature grid, or
            at working size if evidence is used. `likely` returns them at any size.

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
        extract: Maps a frame to the features for matching, on `device`; by default the matching head of the packaged
            weights.
        config: Propagation protocol; by default preset `mug` at the temperature of these weights.
        device: Device of features and labels.
        motion: Motion prior of each frame, if `config` uses it; by default estimated from past frames.
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
        self._evidence = gather(config.evidence, motion, config.appearance)
        self._device = torch.device(device)
        self.latest: Tensor | None = None
        self._size: tuple[int, ...] | None = None  # height and width of the video, from its first frame
        self._over = EVEN
        self._ids = [0]  # the object of each label channel; background first
        self._recent: deque[_Memory] = deque(maxlen=config.frames)
        self._anchors: list[_Anchor] = []

    @torch.inference_mode()
    def step(self, frame: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
        """Segments the next frame.

        Args:
            frame: HWC uint8 RGB; all frames of a video have the same size.
            mask: HW with objects 1..254 and 255 for void; if it contains only 0 and 255, these are background and one
                object, as in files (`mug.media.masks.as_ids`). Required with the first frame. In a later frame it adds
                its objects, or resets those already known; all others keep their propagated labels.

        Returns:
            HW uint8 mask with the ids of the given masks, 0 elsewhere.

        Raises:
            InputError: the first frame comes without an object, a frame is not 8-bit RGB or differs in size, or a mask
                has no ids or differs in size from its frame.
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
        """(L, *size) label probabilities of the latest propagated frame, background first."""
        assert self.latest is not None
        over = self._over if self._evidence is None else EVEN  # with evidence, labels are at pixels, not at cells
        return over.enlarge(self.latest[None], size)[0]

    def _take(
        self,
        features: Tensor,
        mask: np.ndarray,
        propagated: np.ndarray | None,
        seen: Seen | None,
    ) -> np.ndarray:
        """Stores a frame with its given mask in the memory, and returns the frame's complete mask."""
        given = ids_of(mask)
        if not given and propagated is None:
            raise InputError("the first mask shows no object: it needs ids from 1")
        merged = mask
        if propagated is not None:
            merged = with_given(propagated, mask)
        self._ids += [i for i in given if i not in self._ids]
        memory = _Memory(features, self._to_grid(merged, features))
        if self._evidence is not None and seen is not None:
            labels = labels_to_grid(merged, self._ids, seen.size)
            self._evidence.given(seen, labels, [self._ids.index(i) for i in given])
        # the memory of these objects, and of places where they were not yet known, is out of date
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
        """Eq. 17: labels (L, h, w) from the votes of the memory's cells."""
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
        # void does not vote; without renormalisation, the other labels would fade from frame to frame
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
        """The frame's mask at the original resolution."""
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
        best = labels.max(0).indices  # equals argmax, and is several times faster on a CPU
        if config.argmax_at == "cells" and self._over.cells is not None:
            best = self._over.enlarge(best[None, None].float(), size, "nearest")[0, 0].long()
        mask = np.array(self._ids, np.uint8)[best.cpu().numpy()]
        return mask if mask.shape == size else _nearest(mask, size)


class _Memory(NamedTuple):
    features: Tensor
    """(C, h, w)"""
    labels: Tensor
    """(L, h, w); L is the number of labels known when the frame was stored."""


class _Anchor(NamedTuple):
    memory: _Memory
    objects: frozenset[int]
    """Objects whose latest given mask this is; an anchor without any left is dropped, which bounds their number."""

    def without(self, given: list[int], ids: list[int]) -> _Anchor:
        """The anchor after a later mask was given: it votes only for the objects that remain its own."""
        objects = self.objects - set(given)
        keep = torch.tensor([i in objects for i in ids[: len(self.memory.labels)]], device=self.memory.labels.device)
        return _Anchor(_Memory(self.memory.features, self.memory.labels * keep[:, None, None]), objects)


def fit_frame(frame: np.ndarray, config: PropagationConfig) -> np.ndarray:
    """Resizes a frame, HWC uint8, to the size for feature extraction."""
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
    """Share of each object in every cell.

    Args:
        mask: HW uint8; pixels of other ids (void) belong to no object.
        ids: The objects, background included.
        grid: (h, w) cells.
        how: Share of the cell covered by the object (`area`), or its label at the cell's centre, interpolated between
            the four surrounding pixels (`bilinear`) or not (`nearest`).
        over: Position of the cells in the frame.

    Returns:
        (len(ids), h, w) float32; the shares of a cell without void sum to one.
    """
    one_hot = torch.from_numpy(np.stack([mask == i for i in ids]).astype(np.float32))[None]
    return over.shrink(one_hot, grid, how)[0]


def stretched(labels_lhw: Tensor) -> Tensor:
    """Rescales each object's map in a distribution (L, h, w) to [0, 1] over the frame; a constant map becomes 0."""
    low, high = labels_lhw.amin((1, 2), keepdim=True), labels_lhw.amax((1, 2), keepdim=True)
    return (labels_lhw - low) / (high - low).clamp_min(1e-12)


def _nearest(mask: np.ndarray, size: Sequence[int]) -> np.ndarray:
    return np.array(Image.fromarray(mask).resize((size[1], size[0]), Image.Resampling.NEAREST))


def _size(image: np.ndarray) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"
