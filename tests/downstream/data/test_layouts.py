"""Every dataset is recognised by its layout, and read, scored and reported in its own encoding."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from downstream.data.dataset import Dataset
from downstream.data.kinds import find_dataset, open_dataset, open_videos
from downstream.training.annotated import annotated_videos, merged
from mug.cli import main
from mug.media.masks import VOID
from mug.media.video import find_videos
from tests.downstream.data import miniatures
from tests.downstream.data.miniatures import FRAMES, SPARSE, truth

ALL = tuple(range(FRAMES))
INNER = ALL[1:-1]


@dataclass(frozen=True)
class Case:
    """What a miniature is expected to be.

    Attributes:
        kind: How it is recognised.
        sequences: Its sequences.
        name: How frame `index` is called in the first of them.
        annotated: The frames of that sequence that have a mask.
        zero_shot: Those that count without masks given.
        one_shot: Those that count where masks are given.
        objects: How many objects it tells apart.
        classes: The classes that it is scored by.
    """

    kind: str
    sequences: tuple[str, ...]
    name: Callable[[int], str]
    annotated: tuple[int, ...] = SPARSE
    zero_shot: tuple[int, ...] = SPARSE
    one_shot: tuple[int, ...] = SPARSE[1:]
    objects: int = 2
    classes: tuple[str, ...] = ()


CASES: dict[str, Case] = {
    "davis16": Case("davis16", ("bear", "dog"), "{:05d}".format, ALL, INNER, INNER, 1),
    "davis17": Case("davis17", ("bike", "judo"), "{:05d}".format, ALL, INNER, INNER),
    "davis17_unsupervised": Case("davis17-unsupervised", ("judo",), "{:05d}".format, ALL, ALL, ALL[1:]),
    "youtube_vos": Case("youtube-vos", ("a", "b"), lambda i: f"{5 * i:05d}", ALL, ALL, ALL[1:]),
    "youtube_objects": Case(
        "youtube-objects",
        ("aeroplane0001", "cat0007-001", "cat0007-003"),
        lambda i: f"{i + 1:05d}",
        objects=1,
        classes=("aeroplane", "cat"),
    ),
    "youtube_objects_flat": Case(
        "youtube-objects",
        ("aeroplane0001", "cat0007"),
        lambda i: f"{i + 1:05d}",
        objects=1,
        classes=("aeroplane", "cat"),
    ),
    "fbms": Case("fbms", ("cats01", "cars2"), lambda i: f"cats01_{i + 1:04d}"),
    "fbms_converted": Case("fbms", ("cars2", "cats01"), lambda i: f"{i + 1:05d}", objects=1),
    "segtrack": Case("segtrack", ("cheetah", "frog_2"), lambda i: f"cheetah_{i:05d}", ALL, ALL, ALL[1:]),
    "folder": Case("folder", ("mine", "yours"), "{:05d}".format),
}
PARTS = {"youtube_vos": "train"}
"""The split that has annotations to score with."""


@pytest.fixture(params=CASES)
def miniature(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    return request.param, getattr(miniatures, request.param)(tmp_path / "data")


def expected(case: Case, name: str, index: int) -> np.ndarray:
    """The mask that frame `index` of the first sequence is read as."""
    mask = truth(index, min(case.objects, 1) if case.kind == "youtube-objects" else 2)
    if name == "davis17_unsupervised":
        mask[:44] *= np.uint8(index < FRAMES - 1)
        mask[44:] = VOID
    return mask if case.objects == 2 else (mask > 0).astype(np.uint8)


def opened(name: str, root: Path) -> Dataset:
    assert CASES[name].kind == open_dataset(root).kind
    return open_dataset(root, CASES[name].kind)  # type: ignore[arg-type]


def test_it_is_recognised_and_read(miniature: tuple[str, Path]) -> None:
    name, root = miniature
    case, dataset = CASES[name], opened(name, root)
    assert tuple(dataset.sequences(PARTS.get(name))) == case.sequences
    frames = dataset.frames(case.sequences[0])
    assert list(frames) == [case.name(index) for index in case.annotated]
    for index, annotation in zip(case.annotated, frames.values(), strict=True):
        read = annotation.read()
        assert read.dtype == np.uint8
        np.testing.assert_array_equal(read, expected(case, name, index), err_msg=str(annotation.path))


def test_frames_that_count(miniature: tuple[str, Path]) -> None:
    name, root = miniature
    case, dataset = CASES[name], opened(name, root)
    for given, counted in ((False, case.zero_shot), (True, case.one_shot)):
        scored = dataset.scored(PARTS.get(name), given)
        assert tuple(scored) == case.sequences
        assert scored[case.sequences[0]] == [case.name(index) for index in counted]


def test_frames_are_found_with_and_without_annotations(miniature: tuple[str, Path]) -> None:
    name, root = miniature
    case, dataset = CASES[name], opened(name, root)
    for sequence in case.sequences:
        video = dataset.video(sequence)
        assert (video.name, len(video), video.size) == (sequence, FRAMES, miniatures.SIZE)
        assert set(dataset.frames(sequence)) <= set(video.frame_names)
    found = open_videos(root, split=PARTS.get(name))
    assert sorted(video.name for video in found) == sorted(case.sequences)


@pytest.mark.parametrize("task", ["zero-shot", "one-shot"])
def test_it_is_scored_and_reported(miniature: tuple[str, Path], task: str, tmp_path: Path) -> None:
    name, root = miniature
    case, dataset = CASES[name], opened(name, root)
    results = miniatures.results_of(dataset, PARTS.get(name), tmp_path / "results")
    split = ["--split", PARTS[name]] if name in PARTS else []
    arguments = ["evaluate", "--task", task, "--gt", root, *split, "--workers", 1, "--no-stability"]
    scores = {}
    for shift, out in ((0, "perfect"), (8, "shifted")):
        pred = results if not shift else miniatures.results_of(dataset, PARTS.get(name), tmp_path / "moved", shift)
        file = tmp_path / "scores" / f"{out}.json"
        assert main([*map(str, arguments), "--pred", str(pred), "--out", str(file)]) == 0
        scores[out] = json.loads(file.read_text())
    perfect = scores["perfect"]
    assert perfect["dataset"] == case.kind
    assert perfect["J"]["mean"] == perfect["F"]["mean"] == 1.0
    assert 0 < scores["shifted"]["J"]["mean"] < 0.8
    counted = case.zero_shot if task == "zero-shot" else case.one_shot
    assert perfect["counts"]["sequences"] == len(case.sequences)
    assert len(perfect["sequences"][case.sequences[0]]["J"]["frames"]) == len(counted)
    assert sorted(perfect.get("classes", {})) == list(case.classes)
    assert main(["report", str(tmp_path / "scores"), "--out", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text()
    for out, score in scores.items():
        shown = f"{100 * score['J']['mean']:.1f}"
        assert re.search(rf"<td>{out}</td><td>{task}</td><td[^>]*>{shown}</td>", page)


def test_a_head_can_be_trained_on_it(miniature: tuple[str, Path]) -> None:
    name, root = miniature
    case = CASES[name]
    first = annotated_videos(root, split=PARTS.get(name))[0]
    assert (first.name, len(first)) == (case.sequences[0], len(case.annotated))
    image, mask = first.read(1, 48)
    assert image.shape == (*miniatures.SIZE, 3)
    foreground = expected(case, name, case.annotated[1])
    np.testing.assert_array_equal(merged(mask), np.where(foreground == VOID, VOID, foreground > 0))


def test_what_is_no_dataset_is_not_taken_for_one(tmp_path: Path) -> None:
    for index in range(2):  # groups of images with masks, as for co-segmentation
        miniatures.frame(tmp_path / f"groups/cat/{index}.jpg", index)
        miniatures.save(tmp_path / f"groups/cat/GroundTruth/{index}.png", truth(index), miniatures.binary)
        miniatures.frame(tmp_path / f"clips/clip/{index}.jpg", index)
    for folder in ("JPEGImages", "Annotations", "SegmentationClass"):
        (tmp_path / "VOC2012" / folder).mkdir(parents=True)
    for root in ("groups", "groups/cat", "clips", "clips/clip", "VOC2012", "nowhere"):
        assert find_dataset(tmp_path / root) is None, root
    assert [video.name for video in open_videos(tmp_path / "clips")] == ["clip"]
    assert len(open_videos(tmp_path / "clips")) == len(find_videos(tmp_path / "clips"))
