"""Output folder of a command: masks and, on request, soft maps, masks before refinement and an overlay video."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mug.errors import InputError
from mug.media.files import prepare_output
from mug.media.masks import write_mask, write_soft
from mug.media.overlay import OverlayWriter
from mug.media.video import Video

BESIDE = ("raw", "soft")
"""Folders of OUT for additional results, one subfolder per sequence; no video may have these names."""


class Results:
    """The folder OUT of a command: OUT/<sequence>/<frame>.png and additional results.

    Existing results are checked for before the first mask is written.

    Args:
        out: The folder.
        names: Sequences, or groups of images.
        beside: Which of `BESIDE` to write; None if the command has none of them.
        overlay: Whether to write OUT/<sequence>.mp4, with the masks drawn over the frames.
        overwrite: Whether existing results may be replaced.

    Raises:
        InputError: a folder or file already exists or cannot be created, or a sequence has a name of `BESIDE`.
    """

    def __init__(
        self,
        out: Path,
        names: Sequence[str],
        *,
        beside: Sequence[str] | None = None,
        overlay: bool = False,
        overwrite: bool = False,
    ) -> None:
        self.out = out
        self._overlay = overlay
        for name in set(names) & set(() if beside is None else BESIDE):
            raise InputError(f"{out}: results of a video called {name!r} would mix with others; rename it")
        for name in names if overlay and not overwrite else ():
            if self._movie(name).exists():
                raise InputError(f"{self._movie(name)}: is there already; choose another folder or add --overwrite")
        for root in (out, *(out / kept for kept in beside or ())):
            for name in names:
                prepare_output(root / name, overwrite)

    def write_mask(self, sequence: str, frame: str, mask: np.ndarray) -> None:
        """Writes the mask (H, W) uint8 of a frame."""
        write_mask(self.out / sequence / f"{frame}.png", mask)

    def write_raw(self, sequence: str, frame: str, mask: np.ndarray) -> None:
        """Writes the mask (H, W) uint8 of a frame before refinement."""
        write_mask(self.out / "raw" / sequence / f"{frame}.png", mask)

    def write_soft(self, sequence: str, frame: str, map_hw: np.ndarray) -> None:
        """Writes the foreground probability (H, W) in [0, 1] of a frame with 8 bits."""
        write_soft(self.out / "soft" / sequence / f"{frame}.png", np.rint(map_hw * 255).astype(np.uint8))

    def write_video(self, video: Video, masks: Iterator[np.ndarray]) -> None:
        """Writes the masks (H, W) uint8 of all frames, and the overlay, as the iterator yields them in order."""
        if self._overlay:
            masks = self._drawn(video, masks)
        for name, mask in zip(video.frame_names, masks, strict=True):
            self.write_mask(video.name, name, mask)

    def _drawn(self, video: Video, masks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        """Passes the masks on and draws them over their frames."""
        with OverlayWriter(self._movie(video.name), video.fps, video.size) as movie:
            for frame, mask in zip(video, masks, strict=True):
                movie.write(frame, mask)
                yield mask

    def _movie(self, name: str) -> Path:
        return self.out / f"{name}.mp4"
