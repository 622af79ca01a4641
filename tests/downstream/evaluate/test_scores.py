"""`mug evaluate` as a user calls it, and against the official scores of published results."""

from __future__ import annotations

import csv
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from downstream.evaluate import EvaluateOptions, evaluate
from downstream.metrics.temporal import contour_descriptors, instability
from downstream.scoring.davis import score_folder
from downstream.scoring.tables import davis_table, percent
from mug.cli import main
from mug.errors import InputError
from mug.media.masks import read_mask, write_mask
from tests.downstream.evaluate.encodings import FRAMES, as_binary, as_bits, as_soft, rewrite

Squares = Callable[..., Path]


@pytest.mark.parametrize("task", ["zero-shot", "one-shot"])
def test_perfect_results_score_full(truth: Path, results: Path, task: Any) -> None:
    scores = score_folder(truth, results, task)
    assert scores["J"] == {"mean": 1.0, "recall": 1.0, "decay": 0.0}
    assert scores["F"] == {"mean": 1.0, "recall": 1.0, "decay": 0.0}
    assert scores["J&F"]["mean"] == 1.0
    assert scores["T"]["mean"] == scores["T_all"]["mean"] >= 0
    assert len(scores["sequences"]["square0"]["J"]["frames"]) == FRAMES - 2
    objects = 2 if task == "one-shot" else 1
    assert scores["counts"] == {"sequences": 2, "objects": 2 * objects, "frames": 2 * (FRAMES - 2)}


def test_processes_score_as_one_does(truth: Path, results: Path) -> None:
    rewrite(results / "square1", lambda mask: np.roll(mask, 3, axis=1))
    assert score_folder(truth, results, "one-shot", workers=2) == score_folder(truth, results, "one-shot")


def test_first_and_last_frame_do_not_count_and_may_be_missing(truth: Path, results: Path) -> None:
    expected = score_folder(truth, results, "zero-shot")
    for name in ("00000", f"{FRAMES - 1:05d}"):
        path = results / "square0" / f"{name}.png"
        write_mask(path, np.zeros_like(read_mask(path)))
        assert score_folder(truth, results, "zero-shot") == expected
        path.unlink()
    assert score_folder(truth, results, "zero-shot") == expected


@pytest.mark.parametrize("change", [as_binary, as_bits, lambda mask: (mask > 0) * np.uint8(7)])
def test_zero_shot_takes_masks_of_any_encoding(
    truth: Path, results: Path, change: Callable[[np.ndarray], np.ndarray | Image.Image]
) -> None:
    rewrite(results, change)
    assert score_folder(truth, results, "zero-shot", stability=False)["J"]["mean"] == 1.0


def test_one_shot_needs_each_object_under_its_own_id(truth: Path, results: Path) -> None:
    rewrite(results, lambda mask: np.array([0, 2, 1], np.uint8)[mask])
    assert score_folder(truth, results, "one-shot", stability=False)["J"]["mean"] < 0.5
    assert score_folder(truth, results, "zero-shot", stability=False)["J"]["mean"] == 1.0


def test_one_shot_averages_over_the_objects_of_all_sequences(moving_squares: Squares, tmp_path: Path) -> None:
    truth = moving_squares(videos=2, frames=FRAMES, objects=2)
    results = tmp_path / "results"
    shutil.copytree(truth / "Annotations" / "480p", results)
    # one sequence with two objects, of which one is lost, and one with a single object
    rewrite(truth / "Annotations" / "480p" / "square1", lambda mask: (mask == 2).astype(np.uint8))
    rewrite(results / "square1", lambda mask: (mask == 2).astype(np.uint8))
    rewrite(results / "square0", lambda mask: (mask == 2) * np.uint8(2))
    scores = score_folder(truth, results, "one-shot")
    lost = scores["sequences"]["square0"]
    assert {identity: entry["J"]["mean"] for identity, entry in lost["objects"].items()} == {"1": 0.0, "2": 1.0}
    assert lost["J"]["mean"] == 0.5
    assert lost["J"]["frames"] == [0.5] * (FRAMES - 2)
    assert math.isnan(lost["objects"]["1"]["T"])
    assert lost["T"] == lost["objects"]["2"]["T"]
    assert "objects" not in scores["sequences"]["square1"]
    assert scores["J"]["mean"] == pytest.approx(2 / 3)  # of three objects, not of two sequences


def test_one_shot_ignores_ids_that_the_first_annotation_lacks(
    truth: Path, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def add(mask: np.ndarray) -> np.ndarray:
        mask[0, 0] = 9
        return mask

    rewrite(results / "square0", add)
    scores = score_folder(truth, results, "one-shot", stability=False)
    assert scores["J"]["mean"] == 1.0
    assert scores["sequences"]["square0"]["ignored_ids"] == [9]
    assert "ignored_ids" not in scores["sequences"]["square1"]
    evaluate(EvaluateOptions("one-shot", truth, results, stability=False, workers=1))
    assert "square0: ids [9] are not in the first annotation" in capsys.readouterr().err


def test_void_pixels_of_the_annotation_do_not_count(truth: Path, results: Path) -> None:
    def mark(mask: np.ndarray) -> np.ndarray:
        mask[:, -20:] = 255
        return mask

    def stray(mask: np.ndarray) -> np.ndarray:
        mask[5:20, -20:] = 1
        return mask

    rewrite(results, stray)
    assert score_folder(truth, results, "zero-shot", stability=False)["J"]["mean"] < 1.0
    rewrite(truth / "Annotations", mark)
    for task in ("zero-shot", "one-shot"):
        scores = score_folder(truth, results, task, stability=False)
        assert scores["J"]["mean"] == scores["F"]["mean"] == 1.0


def test_soft_maps_need_a_threshold(truth: Path, results: Path) -> None:
    rewrite(results, as_soft)
    with pytest.raises(InputError, match=r"soft map, not a mask.*threshold"):
        score_folder(truth, results, "zero-shot")
    assert score_folder(truth, results, "zero-shot", threshold=0.5, stability=False)["J"]["mean"] == 1.0
    assert score_folder(truth, results, "zero-shot", threshold=0.1, stability=False)["J"]["mean"] < 0.9


def test_a_soft_map_of_few_levels_is_told_from_ids(truth: Path, results: Path) -> None:
    rewrite(results, lambda mask: Image.fromarray(np.array([0, 120, 200], np.uint8)[mask]))
    with pytest.raises(InputError, match=r"grey value 200 makes it a soft map, not a mask; give --threshold"):
        score_folder(truth, results, "zero-shot")


def test_t_runs_over_the_marked_sequences(truth: Path, results: Path) -> None:
    rewrite(results / "square1", lambda mask: mask * np.uint8(mask[0, 0] == 0))
    assert score_folder(truth, results, "zero-shot")["T"]["list"] == "all"
    (truth / "db_info.yml").write_text(
        "sequences:\n- {name: square0, eval_t: false}\n- {name: square1, eval_t: true}\n"
    )
    scores = score_folder(truth, results, "zero-shot")
    assert scores["T"]["list"] == "eval_t of db_info.yml"
    assert scores["T"]["sequences"] == ["square1"]
    assert scores["T"]["mean"] == scores["sequences"]["square1"]["T"]
    means = [entry["T"] for entry in scores["sequences"].values()]
    assert scores["T_all"]["mean"] == pytest.approx(sum(means) / 2)


def test_t_falls_back_to_the_steady_sequences_of_davis16(truth: Path, results: Path) -> None:
    (truth / "Annotations" / "480p" / "square1").rename(truth / "Annotations" / "480p" / "dog")
    (results / "square1").rename(results / "dog")
    scores = score_folder(truth, results, "zero-shot")
    assert scores["T"]["list"] == "built-in list of DAVIS-16"
    assert scores["T"]["sequences"] == ["dog"]


def test_a_split_limits_what_is_scored(truth: Path, results: Path) -> None:
    (truth / "ImageSets").mkdir()
    (truth / "ImageSets" / "val.txt").write_text("square1\n")
    assert list(score_folder(truth, results, "zero-shot", split="val")["sequences"]) == ["square1"]
    shutil.rmtree(results / "square0")
    assert list(score_folder(truth, results, "zero-shot", split="val")["sequences"]) == ["square1"]


def test_frames_that_are_not_annotated_may_have_results(truth: Path, results: Path) -> None:
    expected = score_folder(truth, results, "zero-shot", stability=False)
    (truth / "Annotations" / "480p" / "square0" / "00005.png").unlink()
    sparse = score_folder(truth, results, "zero-shot", stability=False)
    assert sparse["sequences"]["square0"]["frame_names"] == ["00001", "00002", "00003"]
    assert expected["sequences"]["square0"]["frame_names"][-1] == "00004"


def test_only_existing_scores_a_part_and_says_so(
    truth: Path, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite(results / "square0", lambda mask: mask * np.uint8(mask[0, 0] == 0))
    whole = score_folder(truth, results, "one-shot")
    shutil.rmtree(results / "square1")
    (results / "square0" / "00002.png").unlink()
    out = tmp_path / "part.json"
    arguments = ("--task", "one-shot", "--gt", truth, "--pred", results, "--out", out)
    assert call(*arguments) == 2
    assert "or score the others with --only-existing" in capsys.readouterr().err
    assert call(*arguments, "--only-existing") == 0
    printed = capsys.readouterr()
    assert "1 sequences are missing (square1) and 1 frames are missing of square0" in printed.err
    assert "PARTIAL" in printed.out
    scores = json.loads(out.read_text())
    assert scores["missing"] == {"sequences": ["square1"], "frames": {"square0": ["00002"]}, "too_short": []}
    assert scores["counts"] == {"sequences": 1, "objects": 2, "frames": 3}
    part, before = scores["sequences"]["square0"], whole["sequences"]["square0"]
    assert part["frame_names"] == ["00001", "00003", "00004"]
    assert part["J"]["frames"] == [before["J"]["frames"][k] for k in (0, 2, 3)]
    # 00001 and 00003 are no successive frames: only the last pair is left
    shapes = [
        [contour_descriptors(read_mask(results / "square0" / f"{n}.png") == k) for n in ("00003", "00004")]
        for k in (1, 2)
    ]
    assert part["T"] == pytest.approx(np.mean([instability(pair)[0] for pair in shapes]))


ATTRIBUTES = """
sequences:
- {name: square0, eval_t: true, attributes: [AC, BC]}
- {name: square1, eval_t: true, attributes: [BC]}
- {name: elsewhere, eval_t: true, attributes: [OCC]}
"""


@pytest.mark.parametrize("place", ["db_info.yml", "Annotations/db_info.yml", "db_info.yaml"])
def test_attributes_are_means_over_the_sequences_that_have_them(
    truth: Path, results: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite(results / "square1", np.zeros_like)
    assert "attributes" not in score_folder(truth, results, "zero-shot", stability=False)
    (truth / place).write_text(ATTRIBUTES)
    attributes = score_folder(truth, results, "zero-shot", stability=False)["attributes"]
    assert {key: (entry["J"]["mean"], entry["sequences"]) for key, entry in attributes.items()} == {
        "AC": (1.0, ["square0"]),
        "BC": (0.5, ["square0", "square1"]),
    }
    assert call("--task", "zero-shot", "--gt", truth, "--pred", results, "--no-stability") == 0
    assert [line.split()[:4] for line in capsys.readouterr().out.splitlines() if "BC," in line] == [
        ["BC,", "2", "sequences", "50.0"]
    ]
    (truth / place).write_text("sequences: 3")
    with pytest.raises(InputError, match=r"db_info.ya?ml: is no list of `sequences`"):
        score_folder(truth, results, "zero-shot", stability=False)


def test_tables_are_written_by_the_suffix_of_their_files(truth: Path, results: Path, tmp_path: Path) -> None:
    rewrite(results / "square1", np.zeros_like)
    (truth / "Annotations" / "480p" / "square1").rename(truth / "Annotations" / "480p" / "square_1")
    (results / "square1").rename(results / "square_1")
    outs = [tmp_path / f"scores{suffix}" for suffix in (".json", ".csv", ".md", ".tex")]
    assert call("--task", "zero-shot", "--gt", truth, "--pred", results, "--out", *outs, "--no-stability") == 0
    assert json.loads(outs[0].read_text())["J"]["mean"] == 0.5
    with outs[1].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["sequence"] for row in rows] == ["square0", "square_1", "mean of sequences"]
    assert [row["J mean"] for row in rows] == ["1.000000", "0.000000", "0.500000"]
    assert rows[0]["T"] == ""
    assert "| square0 | 100.0 | 100.0 | 0.0 | 100.0 | 100.0 | 0.0 | - |" in outs[2].read_text().splitlines()
    latex = outs[3].read_text()
    assert r"square\_1 & 0.0 & 0.0 & 0.0 & 0.0 & 0.0 & 0.0 & - \\" in latex
    assert latex.count(r"\midrule") == 2
    assert call("--task", "zero-shot", "--gt", truth, "--pred", results, "--out", tmp_path / "scores.xls") == 2


def call(*arguments: object) -> int:
    return main(["evaluate", *map(str, arguments), "--workers", "1"])


def test_the_command_prints_a_table_and_writes_json(
    truth: Path, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite(results / "square1", np.zeros_like)
    out = tmp_path / "scores" / "squares.json"
    assert call("--task", "zero-shot", "--gt", truth, "--pred", results, "--out", out) == 0
    table = capsys.readouterr().out
    assert [line.split()[1:4] for line in table.splitlines() if "square0" in line] == [["100.0", "100.0", "0.0"]]
    assert "mean of sequences" in table
    assert "2 of 2 sequences (all)" in table
    scores = json.loads(out.read_text())
    assert scores["task"] == "zero-shot"
    assert scores["J"]["mean"] == 0.5
    assert set(scores["J"]) == set(scores["F"]) == {"mean", "recall", "decay"}
    assert set(scores["sequences"]["square0"]["F"]) == {"mean", "recall", "decay", "frames"}
    assert scores["sequences"]["square1"]["T"] is None  # an empty mask has no outline
    assert [path.name for path in out.parent.iterdir()] == ["squares.json"]


def test_scores_are_not_written_over(
    truth: Path, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "scores.json"
    out.write_text("precious")
    arguments = ("--task", "zero-shot", "--gt", truth, "--pred", results, "--no-stability", "--out", out)
    assert call(*arguments) == 2
    assert out.read_text() == "precious"
    assert "scores.json: is there already" in capsys.readouterr().err
    assert call(*arguments, "--overwrite") == 0
    assert json.loads(out.read_text())["T"]["mean"] is None
    assert call("--task", "zero-shot", "--gt", truth, "--pred", results, "--out", tmp_path) == 2
    assert "is a folder" in capsys.readouterr().err


def test_the_command_refuses_in_one_line(truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--task", "zero-shot", "--gt", truth, "--pred", tmp_path / "none") == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert call("--task", "panoptic", "--gt", truth, "--pred", tmp_path) == 2
    assert "zero-shot, one-shot, unsupervised, cosegmentation" in capsys.readouterr().err


CONFORMANCE = ("car-shadow", "drift-chicane", "motocross-jump")


@pytest.mark.parametrize("method", ["matnet", "osvos", "cut"])
def test_every_frame_scores_what_the_official_toolkit_gave(real_data: Path, tmp_path: Path, method: str) -> None:
    peers, dev = real_data / "davis16-peers", real_data / "davis16-dev"
    if not (peers / f"{method}.json").is_file() or not dev.is_dir():
        pytest.skip(f"davis16-dev or davis16-peers/{method} is absent from {real_data}")
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "results").mkdir()
    for name in CONFORMANCE:
        (tmp_path / "Annotations" / name).symlink_to(dev.resolve() / "Annotations" / "480p" / name)
        (tmp_path / "results" / name).symlink_to(peers.resolve() / method / name)
    scores = score_folder(tmp_path, tmp_path / "results", "zero-shot", stability=False, workers=2)
    official = json.loads((peers / f"{method}.json").read_text())
    for name in CONFORMANCE:
        for measure in "JF":
            ours = np.round(scores["sequences"][name][measure]["frames"], 3)
            np.testing.assert_allclose(ours, official[name][measure], atol=1e-9, err_msg=f"{method} {name} {measure}")


def test_a_sequence_too_short_to_score_is_left_out_by_name(
    truth: Path, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = score_folder(truth, results, "zero-shot")["sequences"]["square0"]["J"]["mean"]
    for folder in (results, truth / "Annotations/480p"):
        for path in sorted((folder / "square1").iterdir())[2:]:
            path.unlink()
    out = tmp_path / "part.json"
    arguments = ("--task", "zero-shot", "--gt", truth, "--pred", results, "--only-existing", "--out", out)
    assert call(*arguments) == 0
    assert "1 sequences have too few annotated frames (square1)" in capsys.readouterr().err
    scores = json.loads(out.read_text())
    assert (scores["J"]["mean"], scores["missing"]["too_short"]) == (alone, ["square1"])


def test_there_is_one_t(truth: Path, results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """That of the marked sequences; the mean over all is named apart."""
    rewrite(results / "square1", lambda mask: np.roll(mask, 3, 0))
    for name, flag in (("square0", True), ("square1", False)):
        with (truth / "Annotations/db_info.yml").open("a") as file:
            file.write(f"- {{name: {name}, eval_t: {str(flag).lower()}, attributes: []}}\n")
    text = (truth / "Annotations/db_info.yml").read_text()
    (truth / "Annotations/db_info.yml").write_text(f"sequences:\n{text}")
    scores = score_folder(truth, results, "zero-shot")
    table = davis_table(scores)
    official, everywhere = scores["T"]["mean"], scores["T_all"]["mean"]
    assert official != everywhere
    assert table.sections[1][0][-1] == official
    assert table.notes[1].startswith(f"T   {percent(official)} over 1 of 2 sequences")
    assert f"{percent(everywhere)} over all (T_all)" in table.notes[1]
