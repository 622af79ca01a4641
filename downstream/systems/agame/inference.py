"""O-VOS with A-GAME: every object by itself, frame by frame, joined by softmax aggregation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from downstream.one_shot.aggregate import aggregate
from downstream.one_shot.propagator import fit_frame, labels_to_grid
from downstream.one_shot.protocols import PropagationConfig
from downstream.systems.agame import AGAMEOneShot, AGAMEPropagateOptions
from downstream.systems.agame.network import AGAME, FORMAT, Seen, State, joined, parted
from downstream.systems.base import Masks, OneShot
from downstream.systems.trained import opened, trained_side
from mug.media.masks import ids_of, with_given
from mug.media.video import Video


def open_one_shot(options: AGAMEPropagateOptions, device: torch.device) -> OneShot:
    """Opens A-GAME with weights of `mug finetune agame` or `mug convert agame`.

    Raises:
        InputError: the weights or settings cannot be used.
    """
    options.check()
    network, metadata = opened(FORMAT, options.weights, device)
    config = AGAMEOneShot(options.size or trained_side(metadata, 0) or None, options.feedback, options.batch)

    def carry(video: Video, given: Masks) -> Iterator[np.ndarray]:
        tracker = Tracker(network, config)
        for name, frame in zip(video.frame_names, video, strict=True):
            yield tracker.step(frame, given.get(name))

    return carry


class Tracker:
    """Segments a video frame by frame. Memory grows with the number of objects, not with the length of the video.

    Args:
        network: In evaluation mode.
        config: Inference options; None: the defaults.

    Raises:
        InputError: a setting is out of range.
    """

    def __init__(self, network: AGAME, config: AGAMEOneShot | None = None) -> None:
        self._config = replace(config or AGAMEOneShot())
        self._config.check()
        self._network = network
        self._device = next(network.parameters()).device
        self._states: dict[int, State] = {}
        """By id, in the order in which objects were given."""

    @torch.inference_mode()
    def step(self, frame: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
        """Segments the next frame.

        Args:
            frame: HWC uint8 RGB; all frames of a video have the same size.
            mask: HW uint8, objects from 1 and 255 void. It adds its objects, or resets those already known; all others
                are carried on.

        Returns:
            HW uint8 mask with the ids of the given masks; 0 everywhere before the first of them.
        """
        given = [] if mask is None else ids_of(mask)
        if not given and not self._states:
            return np.zeros(frame.shape[:2], np.uint8)
        shown = fit_frame(frame, PropagationConfig(size=self._config.size))
        canvas = _Canvas.around(shown.shape[:2], self._network.stride)
        seen = self._network.see(self._tensor(canvas.extended(shown).transpose(2, 0, 1)[None]) / 255)
        claimed = None
        if mask is not None and given:
            shares = labels_to_grid(mask, given, shown.shape[:2]).numpy()
            claimed = self._tensor(np.stack([canvas.extended(share) for share in shares])[:, None])
        found = np.zeros(frame.shape[:2], np.uint8)
        if self._states:
            likely = self._carry(seen, canvas, claimed)
            whole = F.interpolate(canvas.inner(likely)[None], found.shape, mode="bilinear", align_corners=False)[0]
            found = np.array([0, *self._states], np.uint8)[whole.max(0).indices.cpu().numpy()]
        if mask is None or claimed is None:
            return found
        for i, share in zip(given, claimed, strict=True):
            self._states[i] = self._network.begin(seen, share[None])
        return with_given(found, mask)

    def _carry(self, seen: Seen, canvas: _Canvas, claimed_m1hw: Tensor | None) -> Tensor:
        """Carries all known objects to a frame: probabilities (1 + M, H, W) on the canvas, background first.

        What a given mask claims is taken from what is fed back.
        """
        network, ids, most = self._network, list(self._states), self._config.batch
        parts = [ids[i : i + most] for i in range(0, len(ids), most)]
        rows = [seen.of([len(part)]) for part in parts]
        states = [joined([self._states[i] for i in part]) for part in parts]
        coarse, fine = zip(*(network.step(*both) for both in zip(rows, states, strict=True)), strict=True)
        logits = F.interpolate(torch.cat(fine).float(), canvas.size, mode="bilinear", align_corners=False)
        likely = aggregate(logits[:, 0])
        masks = likely if self._config.feedback == "final" else aggregate(torch.cat(coarse)[:, 0])
        back = network.on_grid(masks[1:, None], seen)
        if claimed_m1hw is not None:
            back = back * network.on_grid((1 - claimed_m1hw.sum(0, keepdim=True)).clamp_min(0), seen)
        for part, row, state, own in zip(parts, rows, states, back.split(most), strict=True):
            self._states.update(zip(part, parted(network.update(row, state, own)), strict=True))
        return likely

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device).float()


class _Canvas(NamedTuple):
    """A frame extended by reflection on all sides to whole cells."""

    shape: tuple[int, ...]
    """Height and width of the frame."""
    rows: tuple[int, int]
    """Rows above and below it."""
    columns: tuple[int, int]
    """Columns left and right of it."""

    @classmethod
    def around(cls, shape: tuple[int, ...], stride: int) -> _Canvas:
        """The smallest canvas of cells of `stride` pixels with a frame of this height and width in its middle."""
        rows, columns = (((n + 1) // 2, n // 2) for n in (-side % stride for side in shape))
        return cls(shape, rows, columns)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the canvas."""
        return self.shape[0] + sum(self.rows), self.shape[1] + sum(self.columns)

    def extended(self, image: np.ndarray) -> np.ndarray:
        """(H, W, ...) of the frame -> of the canvas."""
        return cv2.copyMakeBorder(image, *self.rows, *self.columns, cv2.BORDER_REFLECT_101)

    def inner(self, maps: Tensor) -> Tensor:
        """Maps (..., H, W) of the canvas -> of the frame."""
        (top, _), (left, _) = self.rows, self.columns
        return maps[..., top : top + self.shape[0], left : left + self.shape[1]]
