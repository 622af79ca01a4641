"""`mug evaluate --task unsupervised` against a dense transcription of the benchmark's rules."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from downstream.metrics.boundary import f_measure
from downstream.metrics.matching import assign, pairwise
from downstream.metrics.region import jaccard
from downstream.scoring.unsupervised import score_unsupervised
from mug.cli import main
from mug.media.masks import VOID, write_mask

SIZE = (24, 36)


def blobs(rng: np.random.Generator, ids: list[int]) -> np.ndarray:
    """A mask with a rectangle of each id, later ones in front."""
    mask = np.zeros(SIZE, np.uint8)
    for i in ids:
        y, x = rng.integers(0, 16), rng.integers(0, 26)
        mask[y : y + rng.integers(3, 9), x : x + rng.integers(3, 11)] = i
    return mask


def write(folder: Path, masks: dict[str, list[np.ndarray]]) -> Path:
    for name, frames in masks.items():
        (folder / name).mkdir(parents=True)
        for number, mask in enumerate(frames):
            write_mask(folder / name / f"{number:05d}.png", mask)
    return folder


@pytest.mark.parametrize("seed", range(4))
def test_pairs_have_the_scores_of_the_single_measures(seed: int) -> None:
    rng = np.random.default_rng(seed)
    prediction, truth = blobs(rng, [1, 2, 4]), blobs(rng, [2, 1])
    void = rng.random(SIZE) < 0.2 if seed % 2 else None
    j, f = pairwise(prediction, truth, 4, 3, void)  # proposal 3 and object 3 are not in this frame
    for p, o in itertools.product(range(4), range(3)):
        pair = prediction == p + 1, truth == o + 1, void
        assert j[p, o] == pytest.approx(jaccard(*pair))
        assert f[p, o] == pytest.approx(f_measure(*pair))
    assert j[2, 2] == f[2, 2] == 1.0


def test_the_assignment_is_the_best_of_all() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        value = rng.random((5, 3))
        best = max(itertools.permutations(range(5), 3), key=lambda rows: value[rows, range(3)].sum())
        assert tuple(assign(value)) == best


def dense(truth: list[np.ndarray], results: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """J and F (objects, frames) by the rules, tried over every assignment."""
    objects = sorted(set(np.unique(truth[0])) - {0, VOID})
    proposals = sorted({int(i) for mask in results for i in np.unique(mask)} - {0, VOID})
    proposals += [-1] * max(0, len(objects) - len(proposals))  # an id that no pixel has
    best, values = -1.0, (np.zeros(0), np.zeros(0))
    for chosen in itertools.permutations(proposals, len(objects)):
        table = np.array(
            [
                [
                    [measure(m.astype(int) == p, t == o, t == VOID) for t, m in zip(truth, results, strict=True)]
                    for o, p in zip(objects, chosen, strict=True)
                ]
                for measure in (jaccard, f_measure)
            ]
        )
        if table.mean() > best:
            best, values = float(table.mean()), (table[0], table[1])
    return values


@pytest.mark.parametrize("proposals", [[1, 2, 3, 7], [5, 9], [4], []])
def test_scores_are_those_of_a_dense_transcription(tmp_path: Path, proposals: list[int]) -> None:
    """More proposals than objects, as many, fewer and none; void; an object that comes later does not count."""
    rng = np.random.default_rng(len(proposals))
    truth = [blobs(rng, [1, 3]) for _ in range(5)]
    truth[2][truth[2] == 3] = 0  # out of sight: an empty proposal is right there
    truth[3][:4, 0] = 4
    for mask in truth:
        mask[rng.random(SIZE) < 0.1] = VOID
    results = [blobs(rng, proposals) for _ in range(5)]
    results[1] = np.where((truth[1] == VOID) | (not proposals), 0, truth[1]).astype(np.uint8)
    results[1][results[1] == 3] = proposals[0] if proposals else 0
    results[1][results[1] == 1] = proposals[-1] if proposals else 0
    write(tmp_path / "gt" / "Annotations" / "480p", {"a": truth})
    pred = write(tmp_path / "pred", {"a": results})
    entry = score_unsupervised(tmp_path / "gt", pred)["sequences"]["a"]
    j, f = dense(truth, results)
    for row, name in enumerate(("1", "3")):
        assert entry["objects"][name]["J"]["frames"] == pytest.approx(j[row].tolist())
        assert entry["objects"][name]["F"]["frames"] == pytest.approx(f[row].tolist())
        assert entry["objects"][name]["J"]["recall"] == pytest.approx((j[row] > 0.5).mean())
    assert entry["J"]["frames"] == pytest.approx(j.mean(0).tolist())
    assert entry["J&F"]["mean"] == pytest.approx((j.mean() + f.mean()) / 2)
    lacking = [e["proposal"] is None for e in entry["objects"].values()]
    assert sum(lacking) == max(0, 2 - len(proposals))


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    rng = np.random.default_rng(5)
    masks = {"a": [blobs(rng, [1, 2])] * 4, "b": [blobs(rng, [1])] * 3}
    write(tmp_path / "truth" / "Annotations" / "480p", masks)
    return tmp_path / "truth"


def test_ids_are_free_and_means_run_over_objects(truth: Path, tmp_path: Path) -> None:
    pred = tmp_path / "pred"
    shutil.copytree(truth / "Annotations" / "480p", pred)
    for path in (pred / "a").iterdir():
        mask = np.asarray(Image.open(path))
        write_mask(path, np.select([mask == 1, mask == 2], [17, 0]).astype(np.uint8))
    scores = score_unsupervised(truth, pred)
    assert scores["sequences"]["a"]["objects"]["1"]["proposal"] == 17
    assert scores["sequences"]["a"]["objects"]["2"]["J"]["mean"] == 0.0
    assert scores["J&F"]["mean"] == pytest.approx(2 / 3)  # of three objects two are perfect
    assert scores["counts"] == {"sequences": 2, "objects": 3, "frames": 7}


def test_own_annotations_of_the_task_come_first(truth: Path, tmp_path: Path) -> None:
    pred = write(tmp_path / "pred", {"c": [np.ones(SIZE, np.uint8)] * 2})
    write(truth / "Annotations_unsupervised" / "480p", {"c": [np.ones(SIZE, np.uint8)] * 2})
    assert score_unsupervised(truth, pred)["J&F"]["mean"] == 1.0


def evaluate(truth: Path, pred: Path, *arguments: str) -> int:
    return main(["evaluate", "--task", "unsupervised", "--gt", str(truth), "--pred", str(pred), *arguments])


def test_table_and_file(truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "scores.json"
    assert evaluate(truth, truth / "Annotations" / "480p", "--out", str(out)) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["a", "100.0", "100.0", "100.0", "0.0", "100.0", "100.0", "0.0"] in rows
    assert json.loads(out.read_text())["J&F"]["mean"] == 1.0


def many(pred: Path) -> None:
    mask = np.zeros(SIZE, np.uint8)
    mask[0, :21] = np.arange(1, 22)
    write_mask(pred / "a" / "00002.png", mask)


BAD: dict[str, tuple[Callable[[Path], object], list[str], str]] = {
    "21 ids": (many, [], "a: has more than 20 ids"),
    "no last frame": (lambda pred: (pred / "a" / "00003.png").unlink(), [], "a/00003.png: is missing"),
    "no sequence": (lambda pred: shutil.rmtree(pred / "b"), [], "b: no results for 1 of 2"),
    "another size": (
        lambda pred: write_mask(pred / "a" / "00001.png", np.zeros((8, 9), np.uint8)),
        [],
        "00001.png: is 9x8 where its annotation is 36x24",
    ),
    "a soft map": (lambda pred: None, ["--threshold", "0.5"], "--threshold: a soft map has no object ids"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_results_are_one_line(truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str) -> None:
    spoil, arguments, says = BAD[case]
    pred = tmp_path / "pred"
    shutil.copytree(truth / "Annotations" / "480p", pred)
    spoil(pred)
    assert evaluate(truth, pred, *arguments) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
