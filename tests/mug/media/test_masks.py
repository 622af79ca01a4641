"""Masks of every encoding, and soft maps."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFilter

from mug.errors import InputError
from mug.media.masks import (
    PALETTE,
    VOID,
    as_ids,
    ids_of,
    read_binary,
    read_mask,
    read_soft,
    with_given,
    write_mask,
    write_soft,
)

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


# --- what a file's numbers mean --------------------------------------------------------------------------------------


def disc(size: tuple[int, int] = (96, 128), radius: int = 24) -> np.ndarray:
    """HW bool."""
    y, x = np.ogrid[: size[0], : size[1]]
    return (y - size[0] // 2) ** 2 + (x - size[1] // 2) ** 2 < radius**2


def soft_edged(levels: int = 256) -> Image.Image:
    """A disc whose edge runs through so many levels."""
    blurred = Image.fromarray(disc().astype(np.uint8) * 255).filter(ImageFilter.GaussianBlur(1.5))
    return blurred.point(lambda level: round(round(level * (levels - 1) / 255) * 255 / (levels - 1)))


SOFT = {
    "png": lambda path: soft_edged().save(path),
    "five levels": lambda path: soft_edged(5).save(path),
    "colours": lambda path: soft_edged().convert("RGB").save(path),
    "alpha": lambda path: soft_edged().convert("LA").save(path),
    "palette of greys": lambda path: soft_edged(20).convert("P").save(path),
    "jpeg": lambda path: Image.fromarray(disc().astype(np.uint8) * 255).save(path, "JPEG", quality=60),
    "jpeg of colours": lambda path: soft_edged().convert("RGB").save(path, "JPEG", quality=80),
    "jpeg turned into png": lambda path: as_jpeg(soft_edged()).save(path, "PNG"),
    "webp": lambda path: soft_edged().save(path, "WEBP", quality=60),
}


def as_jpeg(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=70)
    return Image.open(file).copy()


@pytest.mark.parametrize("form", SOFT)
def test_levels_that_cluster_are_cut_at_one_half(form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.png", "b.png"):
        SOFT[form](tmp_path / name)
        mask = read_mask(tmp_path / name)
        assert set(np.unique(mask)) == {0, 1}
        assert ((mask == 1) != disc()).mean() < 0.01
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and "a.png" in said[0] and "cut at one half" in said[0]  # once for a folder


@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
def test_large_and_small_objects_cluster_too(share: float, tmp_path: Path) -> None:
    radius = round((share * 96 * 128 / np.pi) ** 0.5)
    shape = Image.fromarray(disc(radius=radius).astype(np.uint8) * 255)
    shape.filter(ImageFilter.GaussianBlur(1)).save(tmp_path / "m.png")
    assert abs(read_mask(tmp_path / "m.png").mean() - disc(radius=radius).mean()) < 0.01


ramp = np.linspace(0, 255, 128).astype(np.uint8)[None].repeat(96, 0)
y, x = np.mgrid[:96, :128]
blob = (255 * np.exp(-((y - 48) ** 2 + (x - 64) ** 2) / 600)).astype(np.uint8)
NEITHER = {
    "a ramp": ramp,
    "a ramp of 16 levels": ramp // 17 * 17,
    "a blob": blob,
    "a blob of 20 levels": blob // 13 * 13,
    "a trimap": np.array([0, 128, 255], np.uint8)[ramp // 86],
}


@pytest.mark.parametrize("what", NEITHER)
@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_what_is_neither_ids_nor_binary_is_refused(what: str, mode: str, tmp_path: Path) -> None:
    Image.fromarray(NEITHER[what]).convert(mode).save(tmp_path / "m.png")
    if mode == "P":
        image = Image.fromarray(NEITHER[what])
        image.putpalette(np.repeat(np.arange(256, dtype=np.uint8), 3).tobytes())
        image.save(tmp_path / "m.png")
    with pytest.raises(InputError, match=r"m\.png: .*(soft map, not a mask|of the DAVIS palette)"):
        read_mask(tmp_path / "m.png")


def test_ids_do_not_survive_a_jpeg(tmp_path: Path) -> None:
    Image.fromarray(disc().astype(np.uint8) * 3).save(tmp_path / "m.jpg")
    with pytest.raises(InputError, match=r"m\.jpg: was stored with loss"):
        read_mask(tmp_path / "m.jpg")
    Image.new("L", (8, 8)).save(tmp_path / "m.jpg")
    assert not read_mask(tmp_path / "m.jpg").any()
    Image.fromarray(PALETTE[disc().astype(np.uint8)]).save(tmp_path / "m.jpg")
    with pytest.raises(InputError, match=r"m\.jpg: colour"):
        read_mask(tmp_path / "m.jpg")


def test_a_photo_is_no_mask(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "m.png")
    with pytest.raises(InputError, match=r"m\.png: its \d+ colours make a picture"):
        read_mask(tmp_path / "m.png")


@pytest.mark.parametrize("ids", [(0, 3, 255), (0, 1, 64), (0, 128), (0, *range(1, 200))])
def test_many_and_high_ids_stay_what_they_are(ids: tuple[int, ...], tmp_path: Path) -> None:
    mask = np.array(ids, np.uint8)[np.arange(64 * 64) % len(ids)].reshape(64, 64)
    write_mask(tmp_path / "m.png", mask)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), mask)
    if len(ids) < 128:
        np.testing.assert_array_equal(as_ids(mask), mask)
    if max(set(ids) - {255}) <= 64:
        Image.fromarray(mask).save(tmp_path / "m.png")
        np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), mask)


def test_white_is_the_object_of_two_colours_whichever_comes_first(tmp_path: Path) -> None:
    for first in (0, 1):
        image = Image.fromarray(disc().astype(np.uint8) ^ first)
        image.putpalette([255 * first] * 3 + [255 - 255 * first] * 3)
        image.save(tmp_path / "m.png")
        np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), disc())
        np.testing.assert_array_equal(read_mask(tmp_path / "m.png", lone_void=True), disc())


def test_a_mask_is_turned_as_its_frame_is(tmp_path: Path) -> None:
    shown = np.zeros((4, 6), np.uint8)
    shown[0, :2] = 1
    image = Image.fromarray(shown)
    image.putpalette(PALETTE.tobytes())
    turned, exif = image.transpose(Image.Transpose.ROTATE_90), Image.Exif()
    exif[0x112] = 6
    turned.save(tmp_path / "m.png", exif=exif)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), shown)


def test_given_objects_replace_what_was_carried_except_where_nothing_is_known() -> None:
    carried, given = np.array([[[1, 3, 1, 2, 3, 3]], [[255, 255, 0, 0, 3, 0]]], np.uint8)
    assert ids_of(given) == [3]
    assert np.array_equal(with_given(carried, given), [[1, 3, 1, 2, 3, 0]])
    assert np.array_equal(with_given(carried, np.full_like(given, VOID)), carried)


def test_arrays_are_taken_like_files(capsys: pytest.CaptureFixture[str]) -> None:
    np.testing.assert_array_equal(as_ids(disc()), disc())
    np.testing.assert_array_equal(as_ids(disc() * 255), disc())
    np.testing.assert_array_equal(as_ids(disc() * np.uint8(254)), disc() * np.uint8(254))
    assert ((as_ids(np.array(soft_edged())) == 1) != disc()).mean() < 0.01
    assert "cut at one half" in capsys.readouterr().err
    ids = np.array([[0, 100, 230, 255], [1, 2, 3, 4]], np.uint8).repeat(9, 0).repeat(9, 1)
    np.testing.assert_array_equal(as_ids(ids), ids)
    for wrong in (disc() * 1.0, disc()[None], disc() * 300, -disc().astype(int), blob, [[0, 1]]):
        with pytest.raises(InputError, match="the mask"):
            as_ids(wrong)  # type: ignore[arg-type]
