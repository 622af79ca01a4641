"""Objects cut out of their frames: as pictures or videos with transparency, or tinted as an animation."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from mug.exchange.sequences import Sequence
from mug.media.files import atomic_path, url_of
from mug.media.masks import VOID
from mug.media.overlay import blend

GIF_SIDE = 480
"""Longer side of an animation in pixels; larger frames are shrunk."""
GIF_FPS = 12.5
"""Highest frame rate of an animation; of more frames every second, third, ... is left."""


def cut_out(frame: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The objects of a mask (H, W) uint8 in a frame, (H, W, 4) uint8 RGBA; all else is transparent black."""
    alpha = np.where((mask > 0) & (mask != VOID), 255, 0).astype(np.uint8)
    return np.dstack([np.where(alpha[..., None] > 0, frame, 0), alpha])


def write_rgba(sequence: Sequence, out: Path) -> None:
    """Writes OUT/<sequence>/<frame>.png, pictures with transparency."""
    for name, frame, mask in sequence.with_frames():
        with atomic_path(out / sequence.name / f"{name}.png") as temporary:
            Image.fromarray(cut_out(frame, mask)).save(temporary)


def write_webm(sequence: Sequence, out: Path) -> None:
    """Writes OUT/<sequence>.webm, VP9 with transparency."""
    import av

    assert sequence.video is not None
    with (
        atomic_path(out / f"{sequence.name}.webm") as temporary,
        av.open(url_of(temporary), "w", format="webm") as container,
    ):
        stream = container.add_stream("libvpx-vp9", rate=Fraction(sequence.video.fps).limit_denominator(1001))
        stream.height, stream.width = sequence.video.size
        stream.pix_fmt = "yuva420p"
        # the encoder cannot look ahead and encode transparency
        stream.options = {"crf": "24", "b:v": "0", "cpu-used": "4", "auto-alt-ref": "0"}
        for _, frame, mask in sequence.with_frames():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(cut_out(frame, mask), format="rgba")))
        container.mux(stream.encode())


def write_gif(sequence: Sequence, out: Path) -> None:
    """Writes OUT/<sequence>.gif, frames with their masks, repeated without end."""
    assert sequence.video is not None
    step = max(1, math.ceil(sequence.video.fps / GIF_FPS - 1e-6))
    height, width = sequence.video.size
    scale = min(1.0, GIF_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    pictures = (
        Image.fromarray(cv2.resize(blend(frame, mask), size, interpolation=cv2.INTER_AREA)).quantize(256)
        for index, (_, frame, mask) in enumerate(sequence.with_frames())
        if index % step == 0
    )
    with atomic_path(out / f"{sequence.name}.gif") as temporary:
        first = next(pictures)
        # a GIF counts in 10 ms: times are rounded, not durations, whose errors would add up
        ends = [round(100 * k * step / sequence.video.fps) for k in range(math.ceil(len(sequence.files) / step) + 1)]
        durations = [10 * (end - start) for start, end in pairwise(ends)]
        first.save(temporary, save_all=True, append_images=pictures, duration=durations, loop=0)
