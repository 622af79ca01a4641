"""Masks of every encoding, and soft maps."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mug.errors import InputError
from mug.media.masks import PALETTE, read_binary, read_mask, read_soft, write_mask, write_soft

IDS = np.array([[0, 1, 2], [3, 2, 21]], dtype=np.uint8)
BINARY = np.array([[0, 255, 0], [255, 255, 0]], dtype=np.uint8)


def test_palette_is_that_of_davis() -> None:
    expected = {
        0: (0, 0, 0),
        1: (128, 0, 0),
        2: (0, 128, 0),
        8: (64, 0, 0),
        20: (0, 64, 128),
        21: (128, 64, 128),
        22: (22, 22, 22),
    }
    assert {i: tuple(int(c) for c in PALETTE[i]) for i in expected} == expected


def test_written_mask_is_indexed_and_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "00000.png"
    write_mask(path, IDS)
    with Image.open(path) as image:
        assert image.mode == "P"
        assert image.getpalette()[:9] == [0, 0, 0, 128, 0, 0, 0, 128, 0]  # type: ignore[index]
    np.testing.assert_array_equal(read_mask(path), IDS)
    write_mask(path, IDS == 1)
    np.testing.assert_array_equal(read_mask(path), IDS == 1)


@pytest.mark.parametrize("mode", ["L", "P", "LA", "RGB", "RGBA"])
def test_ids_in_every_encoding(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "m.png"
    if mode in ("RGB", "RGBA"):
        Image.fromarray(PALETTE[IDS]).convert(mode).save(path)
    elif mode == "LA":
        Image.fromarray(np.stack([IDS, np.full_like(IDS, 255)], -1), "LA").save(path)
    else:
        image = Image.fromarray(IDS)
        if mode == "P":
            image.putpalette(PALETTE.tobytes())
        image.save(path)
    with Image.open(path) as image:
        assert image.mode == mode
    np.testing.assert_array_equal(read_mask(path), IDS)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "P"])
def test_binary_masks_become_one_object(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "m.png"
    image = Image.fromarray(BINARY)
    if mode == "P":
        image.putpalette(PALETTE.tobytes())
    else:
        image = image.convert(mode)
    image.save(path)
    np.testing.assert_array_equal(read_mask(path), BINARY // 255)


def test_255_beside_other_ids_is_void(tmp_path: Path) -> None:
    mask = np.array([[0, 1, 255]], dtype=np.uint8)
    write_mask(tmp_path / "m.png", mask)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), mask)


@pytest.mark.parametrize("value", [0, 3])
def test_constant_masks_are_read(tmp_path: Path, value: int) -> None:
    write_mask(tmp_path / "m.png", np.full((2, 2), value, np.uint8))
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), value)


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3)])
def test_sixteen_bits_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = tmp_path / "deep.png"
    cv2.imwrite(str(path), np.ones(shape, np.uint16))
    for read in (read_mask, read_soft):
        with pytest.raises(InputError, match=r"deep\.png: holds 16 bits"):
            read(path)


def test_bad_masks_are_named(tmp_path: Path) -> None:
    odd = tmp_path / "odd.png"
    Image.fromarray(np.full((2, 2, 3), (1, 2, 3), np.uint8)).save(odd)
    with pytest.raises(InputError, match=r"odd\.png: colour \(1, 2, 3\) is not"):
        read_mask(odd)
    with pytest.raises(InputError, match=r"gone\.png: no such mask"):
        read_mask(tmp_path / "gone.png")
    broken = tmp_path / "broken.png"
    write_mask(broken, np.random.default_rng(0).integers(0, 5, (64, 64), dtype=np.uint8))
    broken.write_bytes(broken.read_bytes()[:400])
    with pytest.raises(InputError, match=r"broken\.png: cannot be read"):
        read_mask(broken)
    soft = tmp_path / "soft.png"
    write_soft(soft, np.arange(256, dtype=np.uint8)[None])
    with pytest.raises(InputError, match=r"soft\.png: 256 grey levels"):
        read_mask(soft)
    write_mask(odd, IDS)
    with pytest.raises(InputError, match=r"odd\.png: is in colour"):
        read_soft(odd)


def test_soft_maps_read_back(tmp_path: Path) -> None:
    soft = np.arange(256, dtype=np.uint8).reshape(8, 32)
    write_soft(tmp_path / "s.png", soft)
    np.testing.assert_array_equal(read_soft(tmp_path / "s.png"), soft)
    Image.fromarray(BINARY).convert("1").save(tmp_path / "one.png")
    np.testing.assert_array_equal(read_soft(tmp_path / "one.png"), BINARY)


def test_real_masks(real_data: Path) -> None:
    davis = next(iter(sorted((real_data / "davis16-dev" / "Annotations" / "480p").iterdir())))
    for path in sorted(davis.iterdir())[:3]:
        mask = read_mask(path)
        assert mask.shape == (480, 854) and set(np.unique(mask)) == {0, 1}


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "P", "jpg", "0/1"])
def test_masks_of_one_object_in_every_encoding(tmp_path: Path, mode: str) -> None:
    path = tmp_path / f"m.{'jpg' if mode == 'jpg' else 'png'}"
    shown = np.zeros((32, 48), np.uint8)
    shown[9:23, 5:31] = 1
    image = Image.fromarray(shown if mode in ("P", "0/1") else shown * 255)
    if mode == "P":
        image.putpalette(PALETTE.tobytes())  # whose first colour is darker than the middle grey
    elif mode not in ("jpg", "0/1"):
        image = image.convert(mode)
    image.save(path)
    if mode == "jpg":
        assert len(np.unique(np.asarray(Image.open(path)))) > 2
    read = read_binary(path)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, shown)
