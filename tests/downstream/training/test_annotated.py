"""What a head is trained on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from downstream.systems.agnn import AGNNFinetuneOptions
from downstream.training.annotated import (
    annotated_videos,
    check_stills,
    foreground_shares,
    hold_out,
    merged,
    open_annotated,
    open_several,
    saliency_images,
)
from mug.command.preflight import preflight
from mug.errors import InputError
from mug.media.masks import VOID, write_mask
from tests.squares import write_squares

Squares = Callable[..., Path]


def test_frames_are_paired_with_their_masks(moving_squares: Squares) -> None:
    root = moving_squares(videos=2, frames=4, objects=2)
    (root / "Annotations/480p/square0/00002.png").unlink()
    first, second = open_annotated(root)
    assert (first.name, len(first), len(second), first.alike) == ("square0", 3, 4, True)
    frame, mask = first.read(2, 48)
    assert frame.shape == (48, 64, 3)
    assert np.array_equal(frame, np.asarray(Image.open(root / "JPEGImages/480p/square0/00003.jpg")))
    assert set(np.unique(mask)) == {0, 1, 2}
    assert np.array_equal(mask, np.asarray(Image.open(root / "Annotations/480p/square0/00003.png")))


def test_void_stays_void(moving_squares: Squares) -> None:
    root = moving_squares(videos=1, frames=1)
    path = root / "Annotations/480p/square0/00000.png"
    mask = np.zeros((48, 64), np.uint8)
    mask[:10], mask[10:20] = VOID, 2
    write_mask(path, mask)
    read = annotated_videos(root)[0].read(0, 48)[1]
    assert [int(read[row, 0]) for row in (0, 10, 20)] == [VOID, 2, 0]
    assert [int(merged(read)[row, 0]) for row in (0, 10, 20)] == [VOID, 1, 0]


def test_shares_of_foreground_leave_void_out(moving_squares: Squares) -> None:
    root = moving_squares(videos=2, frames=2)
    for number, (void, object_) in enumerate([(10, 20), (0, 12), (0, 0), (0, 48)]):
        mask = np.zeros((48, 64), np.uint8)
        mask[:object_], mask[:void] = 1, VOID
        write_mask(root / f"Annotations/480p/square{number // 2}/0000{number % 2}.png", mask)
    assert foreground_shares(open_annotated(root)) == pytest.approx([10 / 38, 12 / 48, 0, 1])


def test_few_of_many_images_are_looked_at(moving_squares: Squares, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("downstream.training.annotated.LOOKED_AT", 4)
    assert len(foreground_shares(open_annotated(moving_squares(videos=2, frames=9)))) == 4


def test_a_mask_without_its_frame_is_named(moving_squares: Squares) -> None:
    root = moving_squares(videos=1, frames=2)
    (root / "JPEGImages/480p/square0/00001.jpg").unlink()
    with pytest.raises(InputError, match=r"00001\.png: has no frame"):
        annotated_videos(root)
    shutil.rmtree(root / "JPEGImages/480p/square0")
    with pytest.raises(InputError, match="square0: no such folder"):
        annotated_videos(root)


@pytest.mark.parametrize(
    ("images", "masks"),
    [("Imgs", "Imgs"), ("DUT-OMRON-image", "pixelwiseGT-new-PNG"), ("DUTS-TR-Image", "DUTS-TR-Mask")],
)
def test_data_sets_of_salient_objects(tmp_path: Path, images: str, masks: str) -> None:
    for folder in (images, masks):
        (tmp_path / folder).mkdir(exist_ok=True)
    for index, level in enumerate((0, 255)):
        Image.new("RGB", (20, 16), (10 * index, 0, 0)).save(tmp_path / images / f"{index}.jpg")
        Image.new("L", (20, 16), level).save(tmp_path / masks / f"{index}.png")
    found = saliency_images(tmp_path)
    assert (len(found), found.alike) == (2, False)
    assert [int(found.read(i, 16)[1].max()) for i in range(2)] == [0, 1]
    (tmp_path / masks / "1.png").unlink()
    with pytest.raises(InputError, match=r"1\.jpg: has no mask"):
        saliency_images(tmp_path)
    with pytest.raises(InputError, match="holds no images with masks"):
        saliency_images(tmp_path / images)


def write_still(root: Path, mask: np.ndarray) -> Path:
    for folder in ("DUTS-TR-Image", "DUTS-TR-Mask"):
        (root / folder).mkdir(exist_ok=True)
    Image.new("RGB", mask.shape[::-1]).save(root / "DUTS-TR-Image/a.jpg")
    Image.fromarray(mask).save(root / "DUTS-TR-Mask/a.png")
    return root


@pytest.mark.parametrize("levels", [3, 256])
def test_masks_of_stills_are_cut_at_one_half(tmp_path: Path, levels: int) -> None:
    """0 and 255 with a few greys between, as DUTS has them, or with any number."""
    ramp = np.linspace(0, 255, levels).astype(np.uint8).repeat(256 // levels)
    found = saliency_images(write_still(tmp_path, np.broadcast_to(ramp, (8, len(ramp))).copy()))
    check_stills(found)
    _, mask = found.read(0, 8)
    np.testing.assert_array_equal(mask[0], (ramp > 127).astype(np.uint8))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: Image.new("L", (9, 9)).save(path), r"a\.png: is 9x9 and its image 32x8"),
        (lambda path: path.write_bytes(b"nothing"), r"a\.png: cannot be read as an image"),
        (lambda path: Image.new("I;16", (32, 8)).save(path), r"a\.png: holds 16 bits a pixel"),
    ],
)
def test_stills_are_looked_at_before_training(tmp_path: Path, spoil: Callable[[Path], object], message: str) -> None:
    root = write_still(tmp_path, np.zeros((8, 32), np.uint8))
    spoil(root / "DUTS-TR-Mask/a.png")
    options = AGNNFinetuneOptions(system="agnn", data=tmp_path, out=tmp_path / "run", stills=[root], scratch=True)
    with pytest.raises(InputError, match=message):
        preflight(options)


def test_groups_of_images_are_trained_on_where_they_have_masks(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name / "GroundTruth").mkdir(parents=True)
        for index in range(2):
            Image.new("RGB", (20, 16)).save(tmp_path / name / f"{index}.jpg")
    with pytest.raises(InputError, match="no image has a mask"):
        open_annotated(tmp_path)
    write_mask(tmp_path / "dog/GroundTruth/1.png", np.ones((16, 20), np.uint8))
    (dog,) = open_annotated(tmp_path)
    assert (dog.name, len(dog), dog.alike) == ("dog", 1, False)
    assert dog.read(0, 16)[1].min() == 1


def test_several_datasets_are_trained_on_together(tmp_path: Path) -> None:
    roots = [write_squares(tmp_path / name, videos=2, frames=3) for name in ("DAVIS", "other")]
    (roots[1] / "JPEGImages/480p/square1").rename(roots[1] / "JPEGImages/480p/alone")
    (roots[1] / "Annotations/480p/square1").rename(roots[1] / "Annotations/480p/alone")
    for root, names in zip(roots, (["square0"], ["square0", "alone"]), strict=True):
        (root / "ImageSets").mkdir()
        (root / "ImageSets/some.txt").write_text("\n".join(names))
    (roots[0] / "ImageSets/few.txt").write_text("square1")

    def names(split: list[str] | str | None) -> list[str]:
        return [source.name for source in open_several(roots, None, split)]

    assert names(None) == ["DAVIS-square0", "square1", "alone", "other-square0"]
    assert names("some") == ["DAVIS-square0", "other-square0", "alone"]
    assert names(["few", "some"]) == ["square1", "square0", "alone"]
    with pytest.raises(InputError, match="--split: gives 1 splits for 2 of --data"):
        names(["some"])


def test_folders_of_one_name_are_numbered(tmp_path: Path) -> None:
    roots = [write_squares(tmp_path / place / "DAVIS", videos=1, frames=3) for place in ("a", "b")]
    assert [source.name for source in open_several(roots)] == ["DAVIS1-square0", "DAVIS2-square0"]


def test_what_is_held_out_depends_on_each_name_alone() -> None:
    names = [f"video{i}" for i in range(20)]
    held = hold_out(names, 4)
    assert len(held) == 4
    assert hold_out(reversed(names), 4) == held
    assert set(hold_out([name for name in names if name != held[0]], 4)) > set(held[1:])
    assert hold_out(names, 0) == []
