"""Videos of noise-textured squares that move a few pixels each frame, with their masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def write_squares(
    root: Path, videos: int = 2, frames: int = 8, height: int = 48, width: int = 64, objects: int = 1, seed: int = 0
) -> Path:
    """Writes `square0`, `square1`, ... in DAVIS layout; masks are indexed PNG with object ids from 1."""
    rng = np.random.default_rng(seed)
    for video in range(videos):
        write_square_video(root, f"square{video}", rng, (frames, height, width), objects)
    return root


def write_square_video(
    root: Path, name: str, rng: np.random.Generator, shape: tuple[int, int, int], objects: int
) -> None:
    """Writes a sequence and its masks in DAVIS layout; `shape` is frames, height and width."""
    frames, height, width = shape
    side = min(height, width) // 3
    background = _blocks(rng, height, width, (40, 130))
    textures = [_blocks(rng, side, side, (120, 255)) for _ in range(objects)]
    start = rng.uniform(0, [height - side, width - side], size=(objects, 2))
    speed = rng.choice([-1, 1], size=(objects, 2)) * rng.uniform(1, 3, size=(objects, 2))
    for index in range(frames):
        frame, mask = background.copy(), np.zeros((height, width), np.uint8)
        for number in range(objects):
            y, x = _bounce(start[number] + index * speed[number], (height - side, width - side))
            frame[y : y + side, x : x + side] = textures[number]
            mask[y : y + side, x : x + side] = number + 1
        image_path = root / "JPEGImages" / "480p" / name / f"{index:05d}.jpg"
        mask_path = root / "Annotations" / "480p" / name / f"{index:05d}.png"
        for path in (image_path, mask_path):
            path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(frame).save(image_path, quality=95)
        indexed = Image.fromarray(mask).convert("P")
        indexed.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0, 0, 0, 128])
        indexed.putdata(mask.ravel().tolist())
        indexed.save(mask_path)


def _blocks(rng: np.random.Generator, height: int, width: int, span: tuple[int, int]) -> np.ndarray:
    coarse = rng.integers(*span, size=(height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
    return coarse.repeat(4, 0).repeat(4, 1)[:height, :width]


def _bounce(position: np.ndarray, limit: tuple[int, int]) -> tuple[int, int]:
    y, x = (int(round(float(m - abs(p % (2 * m) - m)))) for p, m in zip(position, limit, strict=True))
    return y, x
