"""Features of a video, frame by frame, for the adapted mode."""

from __future__ import annotations

from abc import ABC, abstractmethod

import cv2
import numpy as np
import torch
from torch import Tensor

from downstream.backbones.features import Extractor
from downstream.backbones.lattice import Cells, Lattice, cells_of
from mug.backbone import Features
from mug.frames import to_tensor
from mug.media.pictures import fit_size
from mug.media.video import Video
from mug.model import MuG


class Sight(ABC):
    """A video at the input size of a backbone, with the backbone's features.

    Attributes:
        video: The video.
        size: Height and width (px) of the backbone's input.
        lattice: Position of the cells in that input.
    """

    def __init__(self, video: Video, size: int, cells: Cells | None) -> None:
        self.video = video
        self.size = fit_size(video.size, size)
        self.lattice = Lattice(self.size, cells)

    def frame(self, index: int) -> np.ndarray:
        """Frame `index` at the backbone's input size, HWC uint8 RGB."""
        return self.shrink(self.video[index])

    def shrink(self, frame: np.ndarray) -> np.ndarray:
        """Resizes a frame, HWC uint8 RGB, to the backbone's input size."""
        height, width = self.size
        return cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)

    @abstractmethod
    def augmented(self, index: int, frame: np.ndarray) -> Tensor:
        """Features of frame `index`: (1, C, h, w)."""

    @abstractmethod
    def read(self, r_bchw: Tensor) -> np.ndarray:
        """Foreground probability (h, w) from the result of `augmented`, before adaptation."""

    def _tensor(self, frame: np.ndarray, device: torch.device) -> Tensor:
        """The backbone's input (1, 3, H, W) in [0, 1]."""
        return to_tensor(self.shrink(frame), device=device)


class MugSight(Sight):
    """MuG: frames augmented from references of the whole video (MuG Eq. 9-11), and the readout v."""

    def __init__(self, video: Video, model: MuG, size: int, references: int) -> None:
        super().__init__(video, size, Cells(model.phi.stride))
        self._model = model
        self._references = {i: self._see(video[i]) for i in reference_indices(len(video), references)}

    @torch.inference_mode()
    def augmented(self, index: int, frame: np.ndarray) -> Tensor:
        """Features r (1, 256, h, w) of frame `index`; it is its own reference only if there is no other."""
        query = self._references.get(index) or self._see(frame)
        others = [seen for i, seen in self._references.items() if i != index] or [query]
        source = Features(*(torch.stack(maps, 1) for maps in zip(*others, strict=True)))
        return self._model.aggregate(query, source)

    @torch.inference_mode()
    def read(self, r_bchw: Tensor) -> np.ndarray:
        """Foreground probability (h, w) of the readout v for r (1, 256, h, w)."""
        probability: np.ndarray = self._model.readout(r_bchw)[0, 0].float().sigmoid().cpu().numpy()
        return probability

    @torch.inference_mode()
    def _see(self, frame: np.ndarray) -> Features:
        return Features(*self._model.phi(self._tensor(frame, next(self._model.parameters()).device)))


class BackboneSight(Sight):
    """Any backbone: its features unchanged, without a trained readout."""

    def __init__(self, video: Video, extract: Extractor, size: int, device: torch.device) -> None:
        super().__init__(video, size, cells_of(extract))
        self._extract, self._device = extract, device

    @torch.inference_mode()
    def augmented(self, index: int, frame: np.ndarray) -> Tensor:
        """See `Sight`; each frame by itself."""
        return self._extract(self._tensor(frame, self._device))

    def read(self, r_bchw: Tensor) -> np.ndarray:
        """One half everywhere, (h, w): undecided."""
        return np.full((r_bchw.shape[-2], r_bchw.shape[-1]), 0.5, np.float32)


def reference_indices(frames: int, references: int) -> list[int]:
    """The centre frames of `references` equal segments of a video, without duplicates.

    >>> reference_indices(50, 4)
    [6, 18, 31, 43]
    """
    return sorted({(2 * k + 1) * frames // (2 * references) for k in range(references)})
