"""Synthetic videos: repeatable, in DAVIS layout, and as hard as they are meant to be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mug.cli import main
from mug.errors import InputError
from mug.media.masks import PALETTE
from mug.synth.videos import MIN_VISIBLE, load_textures, synthetic_video

SMALL = ["--frames", "3", "--height", "48", "--width", "64"]


def tree(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_writes_davis_layout(tmp_path: Path) -> None:
    out = tmp_path / "made"
    assert main(["synth", str(out), "--videos", "2", "--objects", "2", *SMALL]) == 0
    names = sorted(p.name for p in (out / "JPEGImages" / "480p").iterdir())
    assert len(names) == 2
    for name in names:
        frames = sorted((out / "JPEGImages" / "480p" / name).iterdir())
        masks = sorted((out / "Annotations" / "480p" / name).iterdir())
        assert [p.name for p in frames] == ["00000.jpg", "00001.jpg", "00002.jpg"]
        assert [p.name for p in masks] == ["00000.png", "00001.png", "00002.png"]
        with Image.open(frames[0]) as frame, Image.open(masks[0]) as mask:
            assert frame.size == mask.size == (64, 48)
            assert frame.mode == "RGB"
            assert mask.mode == "P"
            assert mask.getpalette()[:12] == PALETTE[:4].ravel().tolist()
            assert set(np.unique(np.asarray(mask))) == {0, 1, 2}


def test_same_seed_same_bytes_whatever_the_number_of_videos(tmp_path: Path) -> None:
    for name, videos, seed in (("a", "2", "5"), ("b", "1", "5"), ("c", "1", "6")):
        assert main(["synth", str(tmp_path / name), "--videos", videos, "--seed", seed, *SMALL]) == 0
    a, b, c = (tree(tmp_path / name) for name in "abc")
    assert b.items() <= a.items()
    assert set(b.values()).isdisjoint(c.values())


def test_unlabeled_leaves_the_masks_out(tmp_path: Path) -> None:
    assert main(["synth", str(tmp_path / "a"), "--videos", "1", "--unlabeled", *SMALL]) == 0
    assert main(["synth", str(tmp_path / "b"), "--videos", "1", *SMALL]) == 0
    a, b = tree(tmp_path / "a"), tree(tmp_path / "b")
    assert a == {name: content for name, content in b.items() if name.endswith(".jpg")}
    assert len(b) == 2 * len(a)


@pytest.mark.parametrize("objects", [1, 3])
def test_every_object_is_seen_first_and_moves(objects: int) -> None:
    for seed in range(6):
        frames, masks = synthetic_video(np.random.default_rng(seed), 8, 64, 96, objects)
        assert frames.shape == (8, 64, 96, 3)
        assert frames.dtype == masks.dtype == np.uint8
        assert masks.shape == (8, 64, 96)
        for label in range(1, objects + 1):
            assert (masks[0] == label).mean() >= MIN_VISIBLE
        assert masks.max() == objects
        assert (masks[0] != masks[-1]).any()


def test_a_pace_leaves_frames_out_and_the_others_as_they_are() -> None:
    whole = synthetic_video(np.random.default_rng(4), 8, 64, 96, 2)
    paced = synthetic_video(np.random.default_rng(4), 8, 64, 96, 2, pace=3)
    for all_, some in zip(whole, paced, strict=True):
        assert np.array_equal(some, all_[[0, 3, 6]])


def test_background_moves_with_its_own_camera() -> None:
    frames, masks = synthetic_video(np.random.default_rng(1), 24, 64, 96, 1)
    still = (masks[0] == 0) & (masks[-1] == 0)
    change = np.abs(frames[0].astype(int) - frames[-1].astype(int))[still].mean()
    noise = 4.0
    assert change > noise


def test_resting_objects_move_with_the_background() -> None:
    """They keep their distance, up to the zoom of the camera, and begin where the moving ones do."""
    resting, moving = (synthetic_video(np.random.default_rng(4), 20, 96, 144, 2, resting=r)[1] for r in (True, False))
    assert np.array_equal(resting[0], moving[0])

    def change_of_distance(masks: np.ndarray) -> float:
        first, last = ([np.argwhere(mask == label).mean(0) for label in (1, 2)] for mask in (masks[0], masks[-1]))
        return float(abs(np.linalg.norm(first[0] - first[1]) / np.linalg.norm(last[0] - last[1]) - 1))

    assert change_of_distance(resting) < 0.08 < change_of_distance(moving)


def test_frame_alone_does_not_give_the_mask_away() -> None:
    """Brightness separates object from background no better than on real video: nowhere near a chroma key."""
    separated = []
    for seed in range(5):
        frames, masks = synthetic_video(np.random.default_rng(seed), 1, 64, 96, 1)
        grey = frames[0].mean(-1)
        inside, outside = grey[masks[0] > 0], grey[masks[0] == 0]
        order = (inside[:, None] > outside[None, ::7]).mean()
        separated.append(max(order, 1 - order))
    assert np.mean(separated) < 0.95


def test_textures_from_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    red = np.zeros((60, 80, 3), np.uint8)
    red[..., 0] = np.random.default_rng(0).integers(100, 200, (60, 80))
    Image.fromarray(red).save(folder / "red.png")
    (folder / "notes.txt").write_text("not a picture")
    textures = load_textures(folder)
    assert len(textures) == 1
    np.testing.assert_array_equal(textures[0], red)
    assert main(["synth", str(tmp_path / "out"), "--videos", "1", "--textures", str(folder), *SMALL]) == 0


def test_large_textures_are_shrunk(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((500, 2000, 3), np.uint8)).save(tmp_path / "wide.png")
    assert load_textures(tmp_path)[0].shape == (240, 960, 3)


def test_textures_from_videos(tmp_path: Path, moving_squares) -> None:
    root = moving_squares(videos=2, frames=7)
    textures = load_textures(root / "JPEGImages" / "480p")
    assert len(textures) == 6
    assert textures[0].shape == (48, 64, 3)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--objects", "none"], "--objects"),
        (["--objects", "3..1"], "--objects"),
        (["--objects", "0"], "--objects"),
        (["--videos", "0"], "--videos"),
        (["--height", "8"], "--height"),
        (["--textures", "absent"], "absent"),
    ],
)
def test_bad_options_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert main(["synth", str(tmp_path / "out"), "--videos", "1", *arguments]) == 2
    assert says in capsys.readouterr().err
    assert not tree(tmp_path)


def test_more_objects_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mug.synth.videos.ATTEMPTS", 3)
    with pytest.raises(InputError, match="4 objects do not fit into 64x48 pixels"):
        synthetic_video(np.random.default_rng(0), 1, 48, 64, 4)


def test_bad_textures_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8 no picture")
    assert main(["synth", str(tmp_path / "out"), "--textures", str(tmp_path)]) == 2
    assert "photo.jpg" in capsys.readouterr().err
    empty = tmp_path / "empty"
    empty.mkdir()
    assert main(["synth", str(tmp_path / "out"), "--textures", str(empty)]) == 2
    assert "empty" in capsys.readouterr().err


def test_results_are_not_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["synth", str(tmp_path / "out"), "--videos", "1", *SMALL]
    assert main(arguments) == 0
    before = tree(tmp_path)
    assert main([*arguments, "--seed", "9"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert tree(tmp_path) == before
    assert main([*arguments, "--overwrite"]) == 0
