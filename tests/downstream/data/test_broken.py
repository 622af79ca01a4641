"""A broken dataset is answered with the first thing that is wrong with it, and what mends it, in one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image

from downstream.data.kinds import KINDS, open_dataset
from mug.cli import main
from tests.downstream.data import miniatures
from tests.downstream.data.miniatures import indexed, save, truth


class Broken(NamedTuple):
    """How a miniature is broken, the message word for word, and what else is asked for."""

    miniature: str
    spoil: Callable[[Path], object]
    message: str
    more: tuple[str, ...] = ()


def without(*places: str) -> Callable[[Path], None]:
    """Takes folders or files away."""

    def spoil(root: Path) -> None:
        for place in places:
            if (root / place).is_dir():
                shutil.rmtree(root / place)
            else:
                (root / place).unlink()

    return spoil


def emptied(place: str) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        shutil.rmtree(root / place)
        (root / place).mkdir()

    return spoil


def written(place: str, text: str) -> Callable[[Path], object]:
    return lambda root: (root / place).write_text(text)


def renamed(place: str, new: str) -> Callable[[Path], object]:
    return lambda root: (root / place).rename(root / new)


def cut(place: str) -> Callable[[Path], object]:
    return lambda root: (root / place).write_bytes((root / place).read_bytes()[:40])


def resized(place: str) -> Callable[[Path], object]:
    return lambda root: Image.open(root / place).resize((32, 24)).save(root / place)


UNKNOWN = json.dumps({"videos": {"a": {"objects": {"1": {"category": "dog"}}}}})

BROKEN: dict[str, Broken] = {
    "davis16, no masks": Broken(
        "davis16",
        without("Annotations"),
        "{root}: has no folder Annotations/480p; give the root of a dataset in DAVIS layout",
    ),
    "davis16, masks without sequences": Broken(
        "davis16",
        emptied("Annotations/480p"),
        "{root}/Annotations/480p: holds no <sequence>/<frame>.png; give the root of a DAVIS layout",
    ),
    "davis16, a mask cut short": Broken(
        "davis16",
        cut("Annotations/480p/dog/00002.png"),
        "{root}/Annotations/480p/dog/00002.png: cannot be read as an image, it may be truncated; write it anew",
    ),
    "davis17, a split that is not there": Broken(
        "davis17", lambda root: None, "{root}/ImageSets: has no test.txt; there are val", ("--split", "test")
    ),
    "davis17, a split of either year": Broken(
        "davis17",
        lambda root: None,
        "--split val: could be any of 2016/val, 2017/val; name one of them",
        ("--split", "val"),
    ),
    "davis17, a sequence of the split that has no masks": Broken(
        "davis17",
        without("Annotations/480p/bike"),
        "{root}/Annotations/480p: has no annotations of bike, which {root}/ImageSets/2017/val.txt names",
        ("--split", "2017/val"),
    ),
    "davis17, one sequence cut short": Broken(
        "davis17",
        without(*(f"Annotations/480p/judo/{i:05d}.png" for i in range(2, 7))),
        "{root}/Annotations/480p/judo: has 2 annotated frames; the first and the last do not count, so at least 3 are "
        "needed; add some, or leave it out with --only-existing",
    ),
    "davis17, test-dev": Broken(
        "test_dev",
        lambda root: None,
        "{root}/Annotations/480p: holds only the masks that are given, as test sets are published; their servers score "
        "results",
        ("--split", "test-dev"),
    ),
    "davis17-unsupervised, no masks": Broken(
        "davis17_unsupervised",
        without("Annotations_unsupervised"),
        "{root}: has no folder Annotations_unsupervised/480p; give the root of a dataset in DAVIS layout",
        ("--dataset", "davis17-unsupervised"),
    ),
    "davis17-unsupervised, masks of no sequence": Broken(
        "davis17_unsupervised",
        emptied("Annotations_unsupervised/480p"),
        "{root}/Annotations_unsupervised/480p: holds no <sequence>/<frame>.png; give the root of a DAVIS layout",
    ),
    "davis17-unsupervised, an empty list": Broken(
        "davis17_unsupervised",
        written("ImageSets/2017/val.txt", "\n"),
        "{root}/ImageSets/2017/val.txt: names no sequence; write one name a line",
        ("--split", "val"),
    ),
    "youtube-vos, no meta.json": Broken(
        "youtube_vos",
        without("train/meta.json"),
        "{root}/train/meta.json: is missing; it says where objects begin, unpack that part of YouTube-VOS anew",
    ),
    "youtube-vos, a meta.json of something else": Broken(
        "youtube_vos",
        written("train/meta.json", UNKNOWN),
        "{root}/train/meta.json: does not tell where objects are as YouTube-VOS does; unpack it anew",
    ),
    "youtube-vos, no masks": Broken(
        "youtube_vos",
        without("train/Annotations"),
        "{root}/train: has no folder Annotations; unpack that part of YouTube-VOS anew",
    ),
    "youtube-vos, masks of a video missing": Broken(
        "youtube_vos",
        without("train/Annotations/b"),
        "{root}/train/Annotations/b: is missing, though {root}/train/meta.json names it; unpack it anew",
    ),
    "youtube-vos, the mask missing in which an object begins": Broken(
        "youtube_vos",
        without("train/Annotations/b/00010.png"),
        "{root}/train/Annotations/b/00010.png: is missing, though meta.json says that an object begins there; "
        "unpack it anew",
        ("--split", "train"),
    ),
    "youtube-vos, a part without other masks than those given": Broken(
        "youtube_vos",
        lambda root: None,
        "{root}: holds only the masks that are given, as test sets are published; their servers score results",
        ("--split", "valid"),
    ),
    "youtube-objects, no masks": Broken(
        "youtube_objects",
        without(
            *(
                f"{place}/labels"
                for place in ("aeroplane/data/0001/shots/002", "cat/data/0007/shots/001", "cat/data/0007/shots/003")
            )
        ),
        "{root}: holds no <class>/data/<video>/shots/<shot>/labels and no Annotations/<class><video>; give the folder "
        "with the ten classes",
    ),
    "youtube-objects, a shot without masks": Broken(
        "youtube_objects",
        emptied("cat/data/0007/shots/001/labels"),
        "{root}/cat/data/0007/shots/001/labels: holds no mask; unpack the masks of YouTube-Objects anew",
    ),
    "youtube-objects, a mask without its frame": Broken(
        "youtube_objects",
        without("cat/data/0007/shots/001/images/frame0004.jpg"),
        "{root}/cat/data/0007/shots/001/labels/00004.jpg: has no frame of its number in "
        "{root}/cat/data/0007/shots/001/images; unpack YouTube-Objects anew",
    ),
    "youtube-objects, a split": Broken(
        "youtube_objects_flat",
        lambda root: None,
        "--split val: YouTube-Objects has no splits; all of it is the test set, leave it out",
        ("--split", "val"),
    ),
    "fbms, no definition": Broken(
        "fbms",
        without("Testset/cats01/GroundTruth/cats01Def.dat"),
        "{root}/Testset/cats01/GroundTruth: has no *Def.dat, which says what its colours mean; unpack the "
        "sequence anew",
    ),
    "fbms, another definition": Broken(
        "fbms",
        written("Testset/cats01/GroundTruth/cats01Def.dat", "Total number of regions:\n0\n"),
        "{root}/Testset/cats01/GroundTruth/cats01Def.dat: does not tell regions and frames as FBMS does; unpack the "
        "sequence anew",
    ),
    "fbms, no picture": Broken(
        "fbms",
        without("Testset/cats01/GroundTruth/cats01_0004_gt.ppm"),
        "{root}/Testset/cats01/GroundTruth/cats01_0004_gt.ppm: is missing, though the definition beside it names it; "
        "unpack it anew",
    ),
    "fbms, no frame": Broken(
        "fbms",
        renamed("Testset/cats01/cats01_0004.jpg", "Testset/cats01/cats01_9.jpg"),
        "{root}/Testset/cats01/GroundTruth/cats01_0004_gt.ppm: has no frame cats01_0004.jpg in {root}/Testset/cats01; "
        "unpack the sequence anew",
    ),
    "fbms, a part that is not there": Broken(
        "fbms",
        without("Trainingset"),
        "{root}: holds no sequence of the train set; unpack that set of FBMS-59 beside it",
        ("--split", "train"),
    ),
    "segtrack, no frames": Broken(
        "segtrack", without("JPEGImages"), "{root}: has no folder JPEGImages; give the root of SegTrack v2"
    ),
    "segtrack, a mask of one object missing": Broken(
        "segtrack",
        without("GroundTruth/cheetah/2/cheetah_00003.png"),
        "{root}/GroundTruth/cheetah/2: has no mask of frame cheetah_00003; unpack the sequence anew",
    ),
    "segtrack, no mask": Broken(
        "segtrack",
        emptied("GroundTruth/frog_2"),
        "{root}/GroundTruth/frog_2: holds no mask; unpack the sequence anew",
    ),
    "segtrack, objects of different sizes": Broken(
        "segtrack",
        resized("GroundTruth/cheetah/2/cheetah_00003.png"),
        "{root}/GroundTruth/cheetah/2/cheetah_00003.png: is of another size than "
        "{root}/GroundTruth/cheetah/1/cheetah_00003.bmp; unpack the sequence anew",
    ),
    "folder, no masks": Broken(
        "folder",
        without("mine/masks", "yours/masks"),
        "{root}: holds no <sequence>/masks; put the masks of each sequence there",
        ("--dataset", "folder"),
    ),
    "folder, a sequence without masks": Broken(
        "folder",
        emptied("yours/masks"),
        "{root}/yours/masks: holds no <frame>.png; put the masks of yours there",
    ),
    "folder, a mask without its frame": Broken(
        "folder",
        lambda root: save(root / "mine/masks/99.png", truth(0), indexed),
        "{root}/mine/masks/99.png: has no frame in {root}/mine; name masks as their frames",
    ),
}


def test_every_kind_is_broken_in_three_ways() -> None:
    for kind in KINDS:
        assert sum(case.split(",")[0] == kind.kind for case in BROKEN) >= 3, kind.kind


@pytest.mark.parametrize("case", BROKEN)
def test_the_first_thing_that_is_wrong_is_named(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = BROKEN[case]
    root = getattr(miniatures, broken.miniature)(tmp_path / "data")
    split = "train" if broken.miniature == "youtube_vos" else None
    results = miniatures.results_of(open_dataset(root), split, tmp_path / "results")
    broken.spoil(root)
    arguments = ["evaluate", "--task", "one-shot", "--gt", root, "--pred", results, "--workers", 1, "--no-stability"]
    assert main([*map(str, arguments), *broken.more]) == 2
    assert capsys.readouterr().err == f"mug: error: {broken.message.format(root=root)}\n"
