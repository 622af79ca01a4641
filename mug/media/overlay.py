"""Masks drawn over their frames, as pictures and as a widely playable video."""

from __future__ import annotations

from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from mug.media.files import atomic_path, url_of
from mug.media.masks import PALETTE, VOID


def blend(frame: np.ndarray, mask: np.ndarray, alpha: float = 0.5) -> np.ndarray:
    """Tints the objects of a mask in their palette colours.

    Args:
        frame: HWC uint8 RGB.
        mask: HW uint8 indices; background and void are left unchanged.
        alpha: Opacity of the colour, 0 to 1.

    Returns:
        HWC uint8 RGB.
    """
    objects = (mask > 0) & (mask != VOID)
    out = frame.copy()
    colours = PALETTE[mask[objects]].astype(np.float32)
    out[objects] = np.rint(alpha * colours + (1 - alpha) * frame[objects]).astype(np.uint8)
    return out


class OverlayWriter:
    """Writes frames with their masks as an mp4: H.264 if the encoder is available, else MPEG-4.

    The file appears when the block ends without an error.

    Args:
        path: The mp4 file.
        fps: Frames per second.
        size: Height and width in pixels; odd ones are padded by one row or column, as the codecs require.
    """

    def __init__(self, path: Path, fps: float, size: tuple[int, int]) -> None:
        self.path, self.size = Path(path), size
        self._rate = Fraction(fps).limit_denominator(1001)
        self._stack = ExitStack()
        self._number = -1
        self._container: Any = None
        self._stream: Any = None

    def __enter__(self) -> OverlayWriter:
        import av

        temporary = self._stack.enter_context(atomic_path(self.path))
        self._container = self._stack.enter_context(av.open(url_of(temporary), "w", format="mp4"))
        codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
        self._stream = self._container.add_stream(codec, rate=self._rate)
        height, width = self.size
        self._stream.height, self._stream.width = height + height % 2, width + width % 2
        self._stream.pix_fmt = "yuv420p"
        if codec == "libx264":
            self._stream.options = {"crf": "20", "preset": "veryfast"}
        else:
            self._stream.bit_rate = 8 * height * width
        return self

    def write(self, frame: np.ndarray, mask: np.ndarray, number: int | None = None) -> None:
        """Adds a frame (HWC uint8 RGB) with its mask (HW uint8), shown at `number` / fps seconds.

        By default it follows the one before.
        """
        import av

        height, width = self.size
        if frame.shape != (height, width, 3) or mask.shape != (height, width):
            raise ValueError(f"expected a frame and a mask of {self.size}, got {frame.shape} and {mask.shape}")
        padded = np.pad(blend(frame, mask), ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        picture = av.VideoFrame.from_ndarray(padded, format="rgb24")
        self._number = self._number + 1 if number is None else number
        picture.pts, picture.time_base = self._number, 1 / self._rate
        self._container.mux(self._stream.encode(picture))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._container.mux(self._stream.encode())
        self._stack.__exit__(kind, error, trace)
