"""Hidden files and folders, and suffixes in capitals, in data sets and results."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from downstream.data.groups import find_groups
from downstream.data.kinds import open_dataset, open_videos
from downstream.data.splits import read_split
from downstream.scoring.davis import score_folder
from downstream.scoring.groups import score_groups
from downstream.scoring.unsupervised import score_unsupervised
from tests.downstream.data import miniatures

MINIATURES = ("davis16", "davis17", "youtube_vos", "youtube_objects", "fbms", "segtrack", "folder")


def litter(root: Path) -> None:
    """What notebooks and archives of other systems leave behind, in every folder."""
    for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
        for path in [path for path in folder.iterdir() if path.is_file()]:
            (folder / f"._{path.name}").write_bytes(b"\0\5\x16\7")
            (folder / ".ipynb_checkpoints").mkdir(exist_ok=True)
            shutil.copy(path, folder / ".ipynb_checkpoints" / path.name)
        (folder / ".DS_Store").touch()


def contents(root: Path) -> object:
    dataset = open_dataset(root)
    names = dataset.sequences()
    frames = {name: [(key, str(a.path)) for key, a in dataset.frames(name).items()] for name in names}
    return dataset.kind, frames, [(video.name, len(video)) for video in open_videos(root)]


@pytest.mark.parametrize("miniature", MINIATURES)
def test_litter_changes_nothing(miniature: str, tmp_path: Path) -> None:
    root = getattr(miniatures, miniature)(tmp_path / "data")
    before = contents(root)
    litter(root)
    assert contents(root) == before


def test_hidden_lists_are_no_splits(tmp_path: Path) -> None:
    for place in ("2017/val.txt", ".ipynb_checkpoints/val.txt", "2017/._val.txt"):
        (tmp_path / "ImageSets" / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "ImageSets" / place).write_text("bear\n")
    for split in ("val", "2017/val"):
        assert read_split(tmp_path, split) == (tmp_path / "ImageSets/2017/val.txt", ["bear"])


def in_capitals(folder: Path) -> None:
    for path in sorted(folder.rglob("*.png")):
        path.rename(path.with_suffix(".PNG"))


@pytest.mark.parametrize("task", ["one-shot", "unsupervised"])
def test_results_in_capitals_are_scored(task: str, tmp_path: Path) -> None:
    root = miniatures.davis17(tmp_path / "data")
    results = miniatures.results_of(open_dataset(root), "2017/val", tmp_path / "results")
    in_capitals(results)
    litter(results)
    in_capitals(root / "Annotations")
    scores = (
        score_folder(root, results, "one-shot", split="2017/val", stability=False)
        if task == "one-shot"
        else score_unsupervised(root, results, "2017/val")
    )
    assert scores["J"]["mean"] == 1.0


def test_co_segmentation_in_capitals_is_scored(tmp_path: Path) -> None:
    for place in ("data/car/1.JPG", "data/car/2.JPG"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (24, 16)).save(tmp_path / place)
    for place in ("data/car/GroundTruth/1.PNG", "data/car/GroundTruth/2.PNG", "results/car/1.PNG", "results/car/2.png"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (24, 16), 1).save(tmp_path / place)
    litter(tmp_path / "data")
    assert [len(group) for group in find_groups(tmp_path / "data")] == [2]
    assert score_groups(tmp_path / "data", tmp_path / "results")["J"]["mean"] == 1.0


def test_a_group_has_the_name_that_the_user_gave_it(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    Image.new("RGB", (24, 16)).save(tmp_path / "store" / "1.jpg")
    (tmp_path / "car").symlink_to(tmp_path / "store")
    assert [group.name for group in find_groups(tmp_path / "car")] == ["car"]
