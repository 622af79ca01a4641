"""What counts, dataset by dataset, and what `mug propagate` and `mug segment` make of one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from downstream.data.kinds import open_dataset, open_videos
from downstream.scoring.davis import score_folder
from mug.cli import main
from mug.errors import InputError
from mug.media.listing import subfolders
from mug.media.masks import VOID, read_mask, write_mask
from tests.downstream.data import miniatures
from tests.downstream.data.miniatures import FRAMES, truth


def call(command: str, *arguments: object) -> int:
    return main([command, *map(str, arguments), "--device", "cpu", "--size", "48"])


# --- objects that appear later ---------------------------------------------------------------------------------------


def test_later_objects_are_given_in_the_frame_they_appear_in(tmp_path: Path) -> None:
    dataset = open_dataset(miniatures.youtube_vos(tmp_path))
    given = dataset.given("b")
    assert list(given) == ["00000", "00010"]
    np.testing.assert_array_equal(given["00000"], truth(0, 1))
    np.testing.assert_array_equal(given["00010"], np.where(truth(2) == 2, 2, 0))


def test_later_objects_count_from_the_frame_after(tmp_path: Path) -> None:
    dataset = open_dataset(miniatures.youtube_vos(tmp_path / "data"))
    results = miniatures.results_of(dataset, "train", tmp_path / "results")
    for index in range(3):  # up to the frame it is given in, what is said of object 2 does not matter
        write_mask(results / "b" / f"{5 * index:05d}.png", np.where(truth(index) == 1, 1, 2).astype(np.uint8))
    scores = score_folder(tmp_path / "data", results, "one-shot", split="train")
    second = scores["sequences"]["b"]["objects"]["2"]
    assert second["J"]["frames"] == [1.0] * (FRAMES - 3)
    assert len(scores["sequences"]["b"]["objects"]["1"]["J"]["frames"]) == FRAMES - 1
    assert scores["sequences"]["b"]["J"]["frames"] == [1.0] * (FRAMES - 1)
    write_mask(results / "b" / "00015.png", truth(3, 1))  # the first frame in which it counts
    scores = score_folder(tmp_path / "data", results, "one-shot", split="train")
    assert scores["sequences"]["b"]["objects"]["2"]["J"]["frames"] == [0.0, 1.0, 1.0, 1.0]
    assert scores["sequences"]["b"]["J"]["frames"][:3] == [1.0, 1.0, 0.5]


def test_an_object_that_its_mask_does_not_show_is_left_out(tmp_path: Path) -> None:
    dataset = open_dataset(miniatures.youtube_vos(tmp_path))
    write_mask(tmp_path / "train/Annotations/b/00010.png", truth(2, 1))
    assert list(dataset.given("b")) == ["00000"]


def test_later_objects_are_propagated(tmp_path: Path, weights: Path) -> None:
    root, out = miniatures.youtube_vos(tmp_path / "data"), tmp_path / "out"
    assert call("propagate", root, "--split", "valid", "--weights", weights, "--out", out) == 0
    masks = [read_mask(path) for path in sorted((out / "c").iterdir())]
    assert [folder.name for folder in subfolders(out)] == ["c"]
    assert len(masks) == FRAMES
    assert [2 in mask for mask in masks] == [False, False, *[True] * (FRAMES - 2)]
    np.testing.assert_array_equal(masks[2] == 2, truth(2) == 2)


# --- other protocols -------------------------------------------------------------------------------------------------


def test_nothing_is_found_before_the_first_mask(tmp_path: Path, weights: Path) -> None:
    root, out = miniatures.folder(tmp_path / "data"), tmp_path / "out"
    (root / "mine/masks/00000.png").unlink()
    assert call("propagate", root, "--weights", weights, "--out", out) == 0
    found = [read_mask(path).any() for path in sorted((out / "mine").iterdir())]
    assert found == [False] * 3 + [True] * (FRAMES - 3)


def test_classes_weigh_alike_whatever_their_number_of_sequences(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = miniatures.youtube_objects(tmp_path / "data")
    results = miniatures.results_of(open_dataset(root), None, tmp_path / "results")
    for path in (results / "aeroplane0001").iterdir():
        write_mask(path, np.zeros(miniatures.SIZE, np.uint8))
    arguments = ["--task", "zero-shot", "--gt", root, "--pred", results, "--workers", 1, "--out", tmp_path / "s.json"]
    assert main(["evaluate", *map(str, arguments)]) == 0
    scores = json.loads((tmp_path / "s.json").read_text())
    assert scores["J"]["mean"] == pytest.approx(2 / 3)
    assert scores["J"]["class_mean"] == 0.5
    assert scores["classes"] == {"aeroplane": {"J": {"mean": 0.0}}, "cat": {"J": {"mean": 1.0}}}
    assert "J   50.0, mean of 2 classes" in capsys.readouterr().out
    assert scores["T"]["mean"] is None  # between masks that are frames apart it would mean nothing


def test_a_sequence_with_nothing_but_the_given_mask_is_left_out(tmp_path: Path) -> None:
    dataset = open_dataset(miniatures.youtube_objects_flat(tmp_path))
    for number in (4, 7):
        (tmp_path / f"Annotations/cat0007/{number:05d}.png").unlink()
    assert list(dataset.scored(None, given=True)) == ["aeroplane0001"]
    assert list(dataset.scored(None, given=False)) == ["aeroplane0001", "cat0007"]


def test_t_is_measured_where_every_frame_is_annotated(tmp_path: Path) -> None:
    root = miniatures.segtrack(tmp_path / "data")
    scores = score_folder(root, miniatures.results_of(open_dataset(root), None, tmp_path / "results"), "zero-shot")
    assert scores["T"]["mean"] >= 0


def test_void_is_no_object_and_does_not_count(tmp_path: Path) -> None:
    root = miniatures.davis17_unsupervised(tmp_path / "data")
    dataset = open_dataset(root)
    last = list(dataset.frames("judo").values())[-1]
    assert set(np.unique(last.read())) == {0, VOID}
    results = miniatures.results_of(dataset, None, tmp_path / "results")
    for path in (results / "judo").iterdir():
        mask = read_mask(path)
        mask[44:] = 1
        write_mask(path, mask)
    assert score_folder(root, results, "zero-shot")["J"]["mean"] == 1.0


def test_last_results_may_be_missing_where_they_do_not_count(tmp_path: Path) -> None:
    for make, missing_counts in ((miniatures.davis16, False), (miniatures.segtrack, True)):
        root = make(tmp_path / make.__name__)
        dataset = open_dataset(root)
        results = miniatures.results_of(dataset, None, tmp_path / f"{make.__name__}-results")
        last = sorted((results / dataset.sequences()[0]).iterdir())[-1]
        last.unlink()
        if missing_counts:
            with pytest.raises(InputError, match=f"{last.name}: is missing; every annotated frame that counts"):
                score_folder(root, results, "zero-shot", stability=False)
        else:
            assert score_folder(root, results, "zero-shot", stability=False)["J"]["mean"] == 1.0


def test_davis16_may_be_read_from_the_release_of_2017(tmp_path: Path) -> None:
    root = miniatures.davis17(tmp_path)
    dataset = open_dataset(root, "davis16")
    assert dataset.sequences("val") == ["judo"]
    for annotation in dataset.frames("judo").values():
        assert set(np.unique(annotation.read())) == {0, 1}
    assert set(np.unique(next(iter(open_dataset(root).frames("judo").values())).read())) == {0, 1, 2}


def test_both_annotations_of_davis17_beside_each_other(tmp_path: Path) -> None:
    miniatures.davis17_unsupervised(miniatures.davis17(tmp_path))
    assert open_dataset(tmp_path).kind == "davis17"
    unsupervised = open_dataset(tmp_path, "davis17-unsupervised")
    assert unsupervised.sequences("val") == ["judo"]
    assert unsupervised.annotations == tmp_path / "Annotations_unsupervised/480p"


def test_full_resolution_is_read_with_its_own_frames(tmp_path: Path) -> None:
    root = miniatures.davis17(tmp_path)
    for folder in ("JPEGImages", "Annotations"):
        (root / folder / "480p").rename(root / folder / "Full-Resolution")
    assert open_dataset(root).video("judo").path == root / "JPEGImages/Full-Resolution/judo"
    assert [video.name for video in open_videos(root)] == ["bike", "judo"]


def test_segtrack_lists_name_sequences_that_lie_elsewhere(tmp_path: Path) -> None:
    assert open_dataset(miniatures.segtrack(tmp_path)).sequences("all") == ["frog_2", "cheetah"]


def test_fbms_has_two_sets(tmp_path: Path) -> None:
    dataset = open_dataset(miniatures.fbms(tmp_path))
    assert (dataset.sequences("train"), dataset.sequences("test")) == (["cars2"], ["cats01"])
    assert open_dataset(tmp_path / "Testset").sequences() == ["cats01"]
    assert open_dataset(tmp_path / "Trainingset").sequences("train") == ["cars2"]


def test_a_colour_that_the_definition_does_not_know_is_background(tmp_path: Path) -> None:
    dataset = open_dataset(miniatures.fbms(tmp_path))
    annotation = next(iter(dataset.frames("cats01").values()))
    picture = np.array(Image.open(annotation.path))
    picture[0, :5] = 10, 20, 30
    Image.fromarray(picture).save(annotation.path)
    np.testing.assert_array_equal(annotation.read(), truth(0))


# --- the commands ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["test_dev", "youtube_objects", "fbms", "segtrack"])
def test_propagate_starts_from_the_masks_of_a_dataset(name: str, tmp_path: Path, weights: Path) -> None:
    root, out = getattr(miniatures, name)(tmp_path / "data"), tmp_path / "out"
    assert call("propagate", root, "--weights", weights, "--out", out) == 0
    dataset = open_dataset(root)
    for sequence in dataset.sequences():
        masks = sorted((out / sequence).iterdir())
        assert [path.stem for path in masks] == list(dataset.video(sequence).frame_names)
        first = next(iter(dataset.frames(sequence).values()))
        np.testing.assert_array_equal(read_mask(masks[0]), first.read())
    if name != "test_dev":
        assert score_folder(root, out, "one-shot", stability=False)["J"]["mean"] > 0.3


def test_segment_takes_the_videos_of_a_dataset(tmp_path: Path, weights: Path) -> None:
    root, out = miniatures.fbms(tmp_path / "data"), tmp_path / "out"
    more = ("--weights", weights, "--out", out, "--split", "test", "--mode", "paper")
    assert call("segment", root, *more) == 0
    assert [folder.name for folder in subfolders(out)] == ["cats01"]
    assert len(list((out / "cats01").iterdir())) == FRAMES
    assert score_folder(root, out, "zero-shot", split="test", stability=False)["counts"]["frames"] == 3


def test_segment_needs_no_masks(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, out = miniatures.fbms(tmp_path / "data"), tmp_path / "out"
    shutil.rmtree(root / "Testset/cats01/GroundTruth")
    assert [video.name for video in open_videos(root)] == ["cats01", "cars2"]
    assert call("segment", tmp_path / "nowhere", "--weights", weights, "--out", out, "--dataset", "fbms") == 2
    expected = f"mug: error: {tmp_path}/nowhere: holds no Testset/<sequence>/GroundTruth and no Annotations/<sequence>"
    assert capsys.readouterr().err.startswith(expected)
    assert not out.exists()


def test_a_split_of_what_has_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    miniatures.frame(tmp_path / "clips/clip/0.jpg", 0)
    assert call("segment", tmp_path / "clips", "--out", tmp_path / "out", "--split", "val") == 2
    expected = f"mug: error: --split val: {tmp_path}/clips is no dataset that is known; leave it out\n"
    assert capsys.readouterr().err == expected
    assert call("propagate", tmp_path / "clips", "--out", tmp_path / "out", "--dataset", "davis") == 2
    assert "davis16" in capsys.readouterr().err
