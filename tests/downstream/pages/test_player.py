"""What a player holds: frames, masks and values."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from downstream.pages.player import Film, Layer, fit, runs
from mug.errors import InputError
from mug.media.video import find_videos


def decoded(data: bytes, ids: list[int], shape: tuple[int, int]) -> np.ndarray:
    """The inverse of `runs`, written from its description."""
    values: list[int] = []
    code, shift = 0, 0
    for byte in data:
        code |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            values += [ids[code % len(ids)]] * (code // len(ids))
            code, shift = 0, 0
    return np.array(values, np.uint8).reshape(shape)


@pytest.mark.parametrize("ids", [[0], [0, 1], [0, 1, 2, 255], [7]])
def test_runs_hold_every_pixel(ids: list[int]) -> None:
    rng = np.random.default_rng(0)
    coarse = rng.choice(ids, size=(9, 7)).astype(np.uint8)
    for mask in (coarse, coarse.repeat(40, 0).repeat(60, 1), np.full((300, 500), ids[-1], np.uint8)):
        np.testing.assert_array_equal(decoded(runs(mask, ids), ids, mask.shape), mask)


def film(root: Path) -> Film:
    """The first video of a dataset with its annotation."""
    video = find_videos(root)[0]
    folder = root / "Annotations" / "480p" / video.name
    read = lambda frame: np.asarray(Image.open(folder / f"{frame}.png"))  # noqa: E731
    return Film(video.name, video, list(video.frame_names), [Layer("truth", read, True)])


def test_large_sequences_are_reduced_and_then_thinned(moving_squares: Callable[..., Path]) -> None:
    some = film(moving_squares(videos=1, frames=12, height=360, width=640))
    (height, width), shown = fit(some, 10**9)
    assert (height, width) == (270, 480)
    assert shown == list(range(12))
    whole = sum(len(some.picture(k, (270, 480))) for k in range(12)) * 4 // 3
    size, shown = fit(some, whole // 2)
    assert size[1] < 480
    assert size[0] == round(size[1] * 360 / 640)
    assert shown == list(range(12))
    size, shown = fit(some, whole // 20)
    assert size == (135, 240)
    assert 1 <= len(shown) < 12
    needed = sum(len(some.picture(k, size)) for k in shown) * 4 // 3
    assert needed <= whole // 20 * 1.3 or len(shown) == 1


def test_small_frames_are_not_enlarged(moving_squares: Callable[..., Path]) -> None:
    some = film(moving_squares(videos=1, frames=3))
    size, _ = fit(some, 10**9)
    assert size == (48, 64)
    picture = np.asarray(Image.open(io.BytesIO(some.picture(1, size))))
    assert np.abs(picture.astype(int) - some.video[1]).mean() < 8
    assert base64.b64encode(some.picture(1, size))


def test_mask_of_another_size_is_refused(moving_squares: Callable[..., Path]) -> None:
    some = film(moving_squares(videos=1, frames=3))
    strange = Layer("mine", lambda frame: np.zeros((5, 5), np.uint8))
    with pytest.raises(InputError, match="mine: the mask square0/00001 is not of its frame's size"):
        some.mask(strange, 1, (48, 64))
