"""Synthetic groups: repeatable, and solved only by looking at several images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mug.cli import main
from mug.errors import InputError
from mug.media.masks import read_mask
from mug.synth.drawing import Body
from mug.synth.groups import _appearance, _background, _Textures, draw_scene, pattern, synthetic_group

SMALL = ["--size", "48", "--images", "2"]
SIZE = 48


def tree(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def scenes(seed: int, images: int, distractors: int = 2) -> list[tuple[np.ndarray, np.ndarray]]:
    """Images of a group, as `synthetic_group` draws them, and the shape at each pixel, 0 the common one."""
    rng = np.random.default_rng(seed)
    textures = _Textures(rng, [pattern(rng, 64) for _ in range(6)])
    common = _appearance(rng, textures, SIZE)
    drawn = []
    for _ in range(images):
        looks: list[Body] = [common, *(_appearance(rng, textures, SIZE) for _ in range(distractors))]
        drawn.append(draw_scene(rng, looks, _background(rng, textures, SIZE)))
    return drawn


def test_writes_images_with_masks_beside_them(tmp_path: Path) -> None:
    out = tmp_path / "made"
    assert main(["synth-groups", str(out), "--groups", "2", "--size", "48", "--images", "3"]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["synth0-000", "synth0-001"]
    for folder in out.iterdir():
        assert sorted(p.name for p in folder.glob("*.*")) == ["00000.jpg", "00001.jpg", "00002.jpg"]
        masks = sorted((folder / "GroundTruth").iterdir())
        assert [p.name for p in masks] == ["00000.png", "00001.png", "00002.png"]
        for path in masks:
            mask = read_mask(path)
            assert set(np.unique(mask)) == {0, 1}
            assert 0.01 < mask.mean() < 0.4
        with Image.open(folder / "00000.jpg") as image:
            assert (image.size, image.mode) == ((48, 48), "RGB")


def test_same_seed_same_bytes_whatever_the_number_of_groups(tmp_path: Path) -> None:
    for name, groups, seed in (("a", "2", "5"), ("b", "1", "5"), ("c", "1", "6")):
        assert main(["synth-groups", str(tmp_path / name), "--groups", groups, "--seed", seed, *SMALL]) == 0
    a, b, c = (tree(tmp_path / name) for name in "abc")
    assert b.items() <= a.items()
    assert set(b.values()).isdisjoint(c.values())


def test_one_image_alone_does_not_tell_the_common_object() -> None:
    """Size, place, brightness, contrast and order in depth: the common object is first among three a third of times."""
    measures = []
    for seed in range(60):
        ((image, owner),) = scenes(seed, images=1)
        grey, (y, x) = image.mean(-1), np.mgrid[:SIZE, :SIZE] - SIZE / 2
        parts = [owner == shape for shape in range(3)]
        measures.append(
            [[p.mean(), np.hypot(x[p].mean(), y[p].mean()), grey[p].mean(), grey[p].std()] for p in parts],
        )
    first = np.argmax(measures, axis=1)
    share = (first == 0).mean(0)
    # four standard deviations of 60 fair draws
    np.testing.assert_allclose(share, 1 / 3, atol=4 * np.sqrt(1 / 3 * 2 / 3 / 60))


def test_several_images_tell_the_common_object() -> None:
    """The shape whose mean colour comes nearest to one of every other image is the common one, far beyond chance."""
    right = []
    for seed in range(8):
        drawn = scenes(seed, images=4)
        colours = np.array([[image[owner == shape].mean(0) for shape in range(3)] for image, owner in drawn])
        distance = np.linalg.norm(colours[:, :, None, None] - colours, axis=-1).min(-1)
        right += [int(np.argmin(distance[n].sum(-1))) == 0 for n in range(4)]
    assert np.mean(right) > 0.7


def test_every_shape_stays_well_in_sight() -> None:
    for seed in range(6):
        for _, owner in scenes(seed, images=2, distractors=3):
            assert np.bincount(owner[owner >= 0], minlength=4).min() > 0.005 * owner.size


def test_patterns_differ_and_have_no_seam() -> None:
    drawn = [pattern(np.random.default_rng(seed), 64).astype(int) for seed in range(8)]
    for texture in drawn:
        assert texture.shape == (64, 64, 3)
        across = np.abs(texture[:, 0] - texture[:, -1]).mean()
        assert across <= 1.5 * np.abs(np.diff(texture, axis=1)).mean(axis=(0, 2)).max()
    means = np.array([texture.mean((0, 1)) for texture in drawn])
    apart = np.linalg.norm(means[:, None] - means, axis=-1)[~np.eye(8, dtype=bool)]
    assert apart.min() > 5


def test_no_distractors() -> None:
    images, masks = synthetic_group(np.random.default_rng(0), 2, 48, 0, [pattern(np.random.default_rng(1), 64)])
    assert images.shape == (2, 48, 48, 3)
    assert masks.any(axis=(1, 2)).all()


def test_textures_from_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    grey = np.random.default_rng(0).integers(60, 200, (64, 64, 1), dtype=np.uint8).repeat(3, 2)
    Image.fromarray(grey).save(folder / "grey.png")
    assert main(["synth-groups", str(tmp_path / "out"), "--groups", "1", "--textures", str(folder), *SMALL]) == 0
    image = np.asarray(Image.open(tmp_path / "out" / "synth0-000" / "00000.jpg")).astype(int)
    assert (image.max(-1) - image.min(-1)).mean() < 12  # of a grey photo only: no pattern in colour


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--groups", "0"], "--groups"),
        (["--images", "0"], "--images"),
        (["--size", "8"], "--size"),
        (["--distractors", "-1"], "--distractors"),
        (["--textures", "absent"], "absent"),
    ],
)
def test_bad_options_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert main(["synth-groups", str(tmp_path / "out"), *arguments]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert says in lines[0]
    assert not tree(tmp_path)


def test_more_shapes_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mug.synth.groups.ATTEMPTS", 3)
    photo = pattern(np.random.default_rng(1), 64)
    with pytest.raises(InputError, match="31 shapes do not fit into 48x48 pixels"):
        synthetic_group(np.random.default_rng(0), 1, 48, 30, [photo])


def test_results_are_not_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["synth-groups", str(tmp_path / "out"), "--groups", "1", *SMALL]
    assert main(arguments) == 0
    before = tree(tmp_path)
    assert main([*arguments, "--seed", "9"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert tree(tmp_path) == before
    assert main([*arguments, "--overwrite"]) == 0
