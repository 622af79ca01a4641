"""Fixtures that every test may ask for."""

from __future__ import annotations

import os

# before the first import of torch or numpy: on a shared machine more threads only get in each other's way
os.environ.setdefault("OMP_NUM_THREADS", "2")

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with real videos and annotations; the test is skipped where it is absent."""
    folder = Path(os.environ.get("MUG_TEST_DATA") or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"real data is absent: {folder} is no folder (set MUG_TEST_DATA to where it lies)")
    return folder


@pytest.fixture(autouse=True)
def warned_of_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test before was warned of, this one is warned of again, as on the command line."""
    from mug.command.messages import show_messages

    show_messages()
    monkeypatch.setattr("mug.errors._warned", set())


@pytest.fixture
def moving_squares(tmp_path: Path) -> Callable[..., Path]:
    """Makes a dataset root in DAVIS layout with noise-textured squares that move a few pixels each frame.

    Called as `moving_squares(videos=2, frames=8, height=48, width=64, objects=1, seed=0)`; gives the root.
    Sequences are `square0`, `square1`, ...; masks are indexed PNG with object ids from 1.
    """

    def make(
        videos: int = 2, frames: int = 8, height: int = 48, width: int = 64, objects: int = 1, seed: int = 0
    ) -> Path:
        root = tmp_path / "squares"
        rng = np.random.default_rng(seed)
        for video in range(videos):
            _write_square_video(root, f"square{video}", rng, (frames, height, width), objects)
        return root

    return make


def _write_square_video(
    root: Path, name: str, rng: np.random.Generator, shape: tuple[int, int, int], objects: int
) -> None:
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
