"""Makes the moving picture of README.md from a synthetic video: the frames, O-VOS, and Z-VOS.

python docs/picture.py docs/mug.webp

Objects and background are cut from the two photos that come with scikit-learn, by danielbuechele and vultilion, under
CC BY 2.0.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from mug.cli import main
from mug.media.files import atomic_path
from mug.media.masks import read_mask
from mug.media.overlay import blend
from mug.media.video import open_video

NAME = "synth5-003"
SYNTH = "--videos 4 --frames 32 --height 160 --width 240 --objects 2 --seed 5"
TITLES = ("a video", "O-VOS: the first mask is given", "Z-VOS: nothing is given")
STRIP, GAP, MILLISECONDS = 18, 4, 90


def make(out: Path, folder: Path) -> None:
    """Synthesises the video in a folder, segments it twice and writes an animated WebP."""
    frames, truth = (folder / f"videos/{part}/480p/{NAME}" for part in ("JPEGImages", "Annotations"))
    for words in (
        f"synth {folder}/videos {SYNTH}",
        f"propagate {frames} --mask {truth}/00000.png --out {folder}/one-shot",
        f"segment {frames} --out {folder}/zero-shot",
    ):
        if main(words.split()):
            raise SystemExit(f"mug {words}: failed")
    video = open_video(frames)
    pictures = []
    for name, frame in zip(video.frame_names, video, strict=True):
        masks = [read_mask(next((folder / task).rglob(f"{name}.png"))) for task in ("one-shot", "zero-shot")]
        pictures.append(strip([frame, *(blend(frame, mask) for mask in masks)]))
    with atomic_path(out) as temporary:
        first, *rest = pictures
        first.save(temporary, "WEBP", save_all=True, append_images=rest, duration=MILLISECONDS, loop=0, quality=70)


def strip(panels: list[np.ndarray]) -> Image.Image:
    """Panels (H, W, 3) side by side, under their titles."""
    height, width, _ = panels[0].shape
    picture = Image.new("RGB", (len(panels) * (width + GAP) - GAP, height + STRIP), "white")
    draw = ImageDraw.Draw(picture)
    for index, (panel, title) in enumerate(zip(panels, TITLES, strict=True)):
        picture.paste(Image.fromarray(panel), (index * (width + GAP), STRIP))
        draw.text((index * (width + GAP) + 2, 3), title, fill="black")
    return picture


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        make(Path(sys.argv[1]), Path(place))
