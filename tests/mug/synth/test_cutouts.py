"""Salient objects as the bodies of synthetic videos."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mug.cli import main
from mug.errors import InputError
from mug.media.masks import read_mask
from mug.synth.cutouts import Sprite, cut_out, find_cutouts
from mug.synth.videos import synthetic_video

SMALL = ["--frames", "4", "--height", "64", "--width", "96", "--videos", "3"]


def saliency(root: Path, images: str = "Imgs", masks: str = "Imgs", count: int = 3) -> Path:
    """Red crosses on blue, with masks."""
    for index in range(count):
        shown = np.zeros((80, 100), np.uint8)
        shown[20:70, 35:45], shown[40:50, 15 + 5 * index : 75] = 255, 255
        photo = np.where(shown[..., None] > 0, (230, 20, 20), (20, 20, 230)).astype(np.uint8)
        for folder in (images, masks):
            (root / folder).mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo).save(root / images / f"{index}.jpg", quality=98)
        Image.fromarray(shown).save(root / masks / f"{index}.png")
    return root


@pytest.mark.parametrize(("images", "masks"), [("Imgs", "Imgs"), ("images", "masks"), (".", ".")])
def test_images_with_masks_are_found(tmp_path: Path, images: str, masks: str) -> None:
    root = saliency(tmp_path, images, masks)
    (root / images / "alone.jpg").write_bytes((root / images / "0.jpg").read_bytes())
    found = find_cutouts(root)
    assert [(c.image.name, c.mask.name) for c in found] == [(f"{i}.jpg", f"{i}.png") for i in range(3)]
    photo, mask = found[1].read()
    assert photo.shape == (80, 100, 3) and mask.shape == (80, 100)
    assert photo[mask == 1][:, 0].mean() > 180 > 60 > photo[mask == 0][:, 0].mean()


def test_a_folder_without_masks_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "photo.jpg")
    assert main(["synth", str(tmp_path / "out"), "--cutouts", str(tmp_path), *SMALL]) == 2
    assert "holds no images with masks" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    (cutout, *_) = find_cutouts(saliency(tmp_path))
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(cutout.mask)
    with pytest.raises(InputError, match=r"0\.png: differs in size"):
        cutout.read()


def test_an_object_keeps_its_shape_and_gets_its_size(tmp_path: Path) -> None:
    cutouts = find_cutouts(saliency(tmp_path, count=1))
    cut, soft = cut_out(np.random.default_rng(0), cutouts, 20, 0.0)
    still = np.zeros((1, 2))
    body = Sprite(cut, np.full(360, 20.0), 1.0, still, still[:, 0], still[:, 0], still, soft)
    colour, alpha = body.render(0, (128, 128))
    assert alpha.sum() == pytest.approx(np.pi * 20**2, rel=0.05)
    rows, columns = np.nonzero(alpha > 0.5)
    assert abs(rows.mean() - 63.5) < 1 and abs(columns.mean() - 63.5) < 1
    mask = cv2.resize(
        cutouts[0].read()[1][20:70, 15:75], (columns.max() - columns.min() + 1, rows.max() - rows.min() + 1)
    )
    inside = alpha[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    same = max(np.mean((inside > 0.5) == (m > 0.5)) for m in (mask, mask[:, ::-1]))
    assert same > 0.95
    assert colour[alpha > 0.99].mean(0)[0] > 200


def test_objects_are_those_of_the_folder(tmp_path: Path) -> None:
    root, out = saliency(tmp_path / "data"), tmp_path / "out"
    grey = tmp_path / "grey"
    grey.mkdir()
    noise = np.random.default_rng(0).integers(90, 160, (90, 120, 1), dtype=np.uint8)
    Image.fromarray(noise.repeat(3, 2)).save(grey / "photo.png")
    words = ["synth", str(out), "--cutouts", str(root), "--textures", str(grey), "--objects", "2", *SMALL]
    assert main(words) == 0
    for path in sorted(out.glob("Annotations/480p/*/*.png")):
        mask = read_mask(path)
        image = path.parents[3] / "JPEGImages/480p" / path.parent.name / f"{path.stem}.jpg"
        redness = np.ptp(np.asarray(Image.open(image)).astype(int), axis=-1)
        inner = cv2.erode((mask > 0).astype(np.uint8), np.ones((3, 3))) > 0
        outer = cv2.dilate((mask > 0).astype(np.uint8), np.ones((5, 5))) == 0
        assert redness[inner].mean() > 80 > 30 > redness[outer].mean()
    first = read_mask(out / "Annotations/480p/synth0-000/00000.png")
    assert set(np.unique(first)) == {0, 1, 2}


def test_without_cutouts_nothing_changes(tmp_path: Path) -> None:
    """The same generator draws other objects, but only with cut-outs."""
    cutouts = find_cutouts(saliency(tmp_path))
    plain = [synthetic_video(np.random.default_rng(3), 2, 64, 96) for _ in range(2)]
    with_them = synthetic_video(np.random.default_rng(3), 2, 64, 96, cutouts=cutouts)
    assert np.array_equal(plain[0][0], plain[1][0])
    assert not np.array_equal(plain[0][1], with_them[1])
