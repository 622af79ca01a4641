"""Groups of images in each layout, and what is said of broken ones."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from downstream.data.groups import VOC_CLASSES, find_groups
from mug.errors import InputError

SIZE = (20, 30)


def save_image(path: Path, shade: int = 100) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*SIZE, 3), shade, np.uint8)).save(path)


def save_mask(path: Path, mask: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask.astype(np.uint8)).save(path)


def blob(value: int = 255) -> np.ndarray:
    mask = np.zeros(SIZE, np.uint8)
    mask[5:15, 5:15] = value
    return mask


@pytest.fixture
def internet(tmp_path: Path) -> Path:
    """Three images to a class; the second of each shows no object, the third has no mask."""
    root = tmp_path / "Data"
    for name in ("Horse100", "Car100"):
        for number, shade in ((1, 10), (2, 20), (10, 30)):
            save_image(root / name / f"{number}.jpg", shade)
        save_mask(root / name / "GroundTruth" / "1.png", blob())
        save_mask(root / name / "GroundTruth" / "2.png", blob(0))
    (root / "Annotations").mkdir()
    (root / "readme.txt").write_text("not a group")
    return root


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """Two images of train.txt and five of val.txt: cats (8) in all, a dog (12) in the third and the last."""
    root = tmp_path / "VOC2012"
    names = [f"2007_{number:06d}" for number in range(7)]
    for number, name in enumerate(names):
        save_image(root / "JPEGImages" / f"{name}.jpg", 10 * number)
        mask = blob(8)
        mask[0] = 255
        if number in (2, 6):
            mask[10:15, 5:15] = 12
        save_mask(root / "SegmentationClass" / f"{name}.png", mask)
    save_mask(root / "SegmentationClass" / f"{names[3]}.png", blob(255))  # nothing but void
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("\n".join(names[:2]) + "\n")
    (lists / "val.txt").write_text("\n".join(names[2:]) + "\n")
    return root


def test_classes_with_masks_beside_them(internet: Path) -> None:
    groups = find_groups(internet)
    assert [group.name for group in groups] == ["Car100", "Horse100"]
    group = groups[1]
    assert [path.name for path in group.images] == ["1.jpg", "2.jpg", "10.jpg"]
    assert len(group) == 3
    image, mask, empty = group.image(1), group.mask(0), group.mask(1)
    assert (image.shape, image.dtype) == ((*SIZE, 3), np.uint8)
    assert abs(int(image.mean()) - 20) <= 1
    assert mask is not None
    np.testing.assert_array_equal(mask, blob(1))
    assert empty is not None and not empty.any()
    assert group.mask(2) is None


def test_a_mask_of_several_ids_is_one_object_with_void(internet: Path) -> None:
    mask = blob(3)
    mask[0], mask[5] = 255, 1
    save_mask(internet / "Car100" / "GroundTruth" / "1.png", mask)
    read = find_groups(internet)[0].mask(0)
    assert read is not None
    np.testing.assert_array_equal(read, np.where(mask == 255, 255, mask > 0))


def test_one_class_alone(internet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (group,) = find_groups(internet / "Car100")
    assert (group.name, len(group)) == ("Car100", 3)
    monkeypatch.chdir(internet / "Car100")
    assert [group.name for group in find_groups(Path("."))] == ["Car100"]


def test_images_are_read_only_when_asked_for(internet: Path) -> None:
    (internet / "Car100" / "1.jpg").write_bytes(b"no image")
    (internet / "Car100" / "GroundTruth" / "2.png").write_bytes(b"no image")
    group = find_groups(internet)[0]
    group.image(1)
    with pytest.raises(InputError, match=r"1\.jpg"):
        group.image(0)
    with pytest.raises(InputError, match=r"2\.png"):
        group.mask(1)


def test_voc_has_a_group_for_each_class_that_occurs(voc: Path) -> None:
    (cats,) = find_groups(voc, "train")
    assert (cats.name, [path.stem[-1] for path in cats.images]) == ("cat", ["0", "1"])
    cats, dogs = find_groups(voc, "test")
    assert [path.stem[-1] for path in cats.images] == ["4", "5", "6"]
    assert (dogs.name, [path.stem[-1] for path in dogs.images]) == ("dog", ["6"])
    expected = np.zeros(SIZE, np.uint8)
    expected[10:15, 5:15], expected[0] = 1, 255
    read = dogs.mask(0)
    assert read is not None
    np.testing.assert_array_equal(read, expected)


def test_void_alone_is_no_object_in_voc(voc: Path) -> None:
    """The mask of image 3 holds 0 and 255, which would be a 0/255 binary in another data set."""
    cats, dogs = find_groups(voc, "val")
    assert [path.stem[-1] for path in cats.images] == ["2"]
    assert len(dogs) == 1
    assert not any(group.name == VOC_CLASSES[0] for group in (cats, dogs))


def test_halves_of_val_are_724_and_725_of_1449(voc: Path) -> None:
    from downstream.data.groups import _voc_names

    names = [f"{number:04d}" for number in range(1449)]
    (voc / "ImageSets" / "Segmentation" / "val.txt").write_text("\n".join(names))
    assert _voc_names(voc, "val") == names[:724]
    assert _voc_names(voc, "test") == names[-725:]


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


BROKEN_FOLDERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (remove, "Data: no such folder"),
    "empty": (lambda root: (remove(root), root.mkdir()), "Data: holds no group"),
    "mask without image": (lambda root: remove(root / "Car100" / "2.jpg"), "GroundTruth/2.png: is a mask without"),
    "no image": (lambda root: [remove(p) for p in root.glob("Car100/*.jpg")], "Car100: holds GroundTruth but no image"),
    "two of one name": (lambda root: save_image(root / "Car100" / "10.png"), "Car100: holds two images named 10"),
}


@pytest.mark.parametrize("case", BROKEN_FOLDERS)
def test_broken_folders_are_named(internet: Path, case: str) -> None:
    spoil, says = BROKEN_FOLDERS[case]
    spoil(internet)
    with pytest.raises(InputError, match=says):
        find_groups(internet)


def test_folders_have_no_splits(internet: Path) -> None:
    with pytest.raises(InputError, match="--split test"):
        find_groups(internet, "test")


BROKEN_VOC: dict[str, tuple[Callable[[Path], object], str]] = {
    "no images": (lambda root: remove(root / "JPEGImages"), "has no folder JPEGImages"),
    "no masks": (lambda root: remove(root / "SegmentationClass"), "has no folder SegmentationClass"),
    "no lists": (lambda root: remove(root / "ImageSets"), "has no folder ImageSets/Segmentation"),
    "no list": (lambda root: remove(root / "ImageSets/Segmentation/val.txt"), "val.txt: no such list"),
    "an empty list": (lambda root: (root / "ImageSets/Segmentation/val.txt").write_text(""), "val.txt: names no image"),
    "an image is missing": (lambda root: remove(root / "JPEGImages/2007_000005.jpg"), "000005.jpg: is missing"),
    "a mask is missing": (lambda root: remove(root / "SegmentationClass/2007_000005.png"), "000005.png: is missing"),
    "another class": (lambda root: save_mask(root / "SegmentationClass/2007_000005.png", blob(21)), "holds class 21"),
}


@pytest.mark.parametrize("case", BROKEN_VOC)
def test_broken_voc_is_named(voc: Path, case: str) -> None:
    spoil, says = BROKEN_VOC[case]
    spoil(voc)
    with pytest.raises(InputError, match=says):
        find_groups(voc, "test")


def test_videos_are_no_groups(moving_squares: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match="has no folder SegmentationClass; give folders"):
        find_groups(moving_squares(videos=1, frames=1))


@pytest.mark.parametrize("split", [None, "trainval"])
def test_voc_needs_one_of_its_splits(voc: Path, split: str | None) -> None:
    with pytest.raises(InputError, match=r"--split .*; use train, val, test"):
        find_groups(voc, split)
