"""Pages of runs and of results, as `mug report` writes them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from downstream.evaluate import EvaluateOptions, evaluate
from downstream.pages.html import GENERATOR, VENDOR, write_page
from downstream.pages.labels import initial_maps, renewed_areas
from downstream.pages.mask_pictures import mask_picture
from downstream.pages.run import read_metrics
from downstream.report import ReportOptions, report
from mug.cli import main
from mug.errors import InputError
from mug.media.masks import PALETTE, read_mask, write_mask, write_soft
from mug.media.video import find_videos
from tests.downstream.pages.players import players_in
from tests.squares import write_squares

Make = Callable[..., Path]


def _run(folder: Path, rows: int = 40) -> Path:
    """A run's folder as pretraining leaves it."""
    (folder / "pictures").mkdir(parents=True)
    (folder / "config.yaml").write_text("videos: clips <b>\nbatch: 6\nmodel: {backbone: {depth: 18}}\nseed: 0\n")
    lines = ["step,round,total,warp,short"]
    lines += [f"{step},{1 + step // 20},{4 - 0.05 * step:.3f},{3 - 0.01 * step:.3f}," for step in range(rows)]
    (folder / "metrics.csv").write_text("\n".join(lines) + "\n")
    for step, colour in ((20, (255, 0, 0)), (40, (0, 0, 255))):
        Image.new("RGB", (32, 16), colour).save(folder / "pictures" / f"{step:07d}_tracking.png")
    return folder


@pytest.fixture
def scored(tmp_path: Path, moving_squares: Make) -> tuple[Path, Path]:
    """A dataset and a folder with the scores of perfect masks and of empty ones."""
    root = moving_squares(videos=2, frames=6)
    scores = tmp_path / "scores"
    shutil.copytree(root / "Annotations" / "480p", tmp_path / "good")
    for file in (root / "Annotations" / "480p").rglob("*.png"):
        write_mask(tmp_path / "empty" / file.parent.name / file.name, np.zeros((48, 64), np.uint8))
    for name in ("good", "empty"):
        evaluate(EvaluateOptions("zero-shot", root, tmp_path / name, scores / f"{name}.json", workers=1))
    return root, scores


def _page(path: Path) -> str:
    """The page, once it is seen to be whole and to load nothing."""
    html = path.read_text()
    assert html.startswith("<!DOCTYPE html>")
    assert html.rstrip().endswith("</html>")
    assert GENERATOR in html
    assert 'name="viewport"' in html
    assert "prefers-color-scheme: dark" in html
    html = html.replace((VENDOR / "uplot.js").read_text().strip(), "")  # names the address of its project
    sources = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert all(source.startswith(("data:image/jpeg;base64,", "data:,", "#")) for source in sources)
    assert {source for source in sources if source[0] == "#"} <= {f"#{name}" for name in _targets(html)}
    assert not re.search(r"url\(|@import|https?://", html)
    return html


def _targets(html: str) -> set[str]:
    """What links in the page can lead to: players and their frames."""
    players = players_in(html)
    return {*players, *(f"{name}/{frame}" for name, data in players.items() for frame in data["names"])}


def _rows(html: str) -> list[list[str]]:
    """The rows of numbers of all tables."""
    bodies = re.findall(r"<tbody>(.*?)</tbody>", html, re.DOTALL)
    rows = [row for body in bodies for row in re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL)]
    found = [[re.sub("<[^>]*>", "", cell) for cell in re.findall(r"<td[^>]*>.*?</td>", row)] for row in rows]
    return [row for row in found if len(row) > 2]


def _charts(html: str) -> dict[str, dict[str, Any]]:
    """The data of the charts by title."""
    figures = re.findall(r'class="chart"><h4>([^<]*)</h4>.*?application/json">(.*?)</script>', html, re.DOTALL)
    return {title: json.loads(data) for title, data in figures}


def test_run_becomes_a_page_with_curves_and_its_last_pictures(tmp_path: Path) -> None:
    run = _run(tmp_path / "run")
    report(ReportOptions(run))
    html = _page(run / "report.html")
    charts = _charts(html)
    assert list(charts) == ["Total loss", "Known warps"]  # `short` was never recorded
    assert charts["Total loss"]["series"][0]["y"][:2] == [4.0, 3.95]
    assert all(chart["marks"] == [20] for chart in charts.values())  # a dashed line between two rounds
    assert "clips &lt;b&gt;" in html
    assert "After 40 steps" in html
    assert "After 20 steps" not in html


def test_what_became_of_the_labels_is_drawn(tmp_path: Path) -> None:
    """Each video is a dot where its areas say, and one whose labels went is named."""
    run = _run(tmp_path / "run")
    for name, areas in {"a/one": (0.5, 0.25), "a/two": (0.25, 0.0)}.items():
        for part, share in zip(("prior", "round1"), areas, strict=True):
            for index in range(3):
                soft = np.zeros((8, 8), np.uint8)
                soft[:, : int(8 * share)] = 200
                write_soft(run / "labels" / part / name / f"{index:05d}.png", soft)
    write_soft(run / "labels/prior/a/two/00003.png", np.full((8, 8), 255, np.uint8))  # not made yet after the round
    report(ReportOptions(run))
    html = _page(run / "report.html")
    assert renewed_areas(run / "labels/prior", run / "labels/round1") == {"a/one": (0.5, 0.25), "a/two": (0.25, 0.0)}
    chart = _charts(html)["After round 1"]
    drawn = zip(chart["names"], chart["x"], chart["series"][0]["y"], strict=True)
    assert [point for point in drawn if point[0]] == [("a/two: 0.25", 0.25, 0.0), ("a/one: 0.5", 0.5, 0.25)]
    assert chart["series"][1]["y"] == chart["x"]  # the diagonal
    assert _rows(html)[-1] == ["a/two", "1", "25.00", "0.00"]
    assert "<td>a/one</td>" not in html
    assert html.count("<img") == 2 * 2 + 1  # the prior and the renewed map of both videos, and the picture of the run


def test_frames_lie_over_the_labels_of_all_folders_that_are_still_there(tmp_path: Path) -> None:
    run = _run(tmp_path / "run")
    roots = [write_squares(tmp_path / name, videos=1, frames=3) / "JPEGImages/480p" for name in ("a", "b")]
    roots[1].joinpath("square0").rename(roots[1] / "other")
    (tmp_path / "empty").mkdir()
    places = [*roots, tmp_path / "gone", tmp_path / "empty"]
    (run / "config.yaml").write_text(json.dumps({"videos": [str(place) for place in places], "maps": "gone"}))
    for name in ("square0", "other"):
        write_soft(run / "labels/round1" / name / "00001.png", np.full((6, 8), 200, np.uint8))
    report(ReportOptions(run))
    html = _page(run / "report.html")
    assert "From left to right: a frame, after round 1." in html  # the initial maps are gone
    assert html.count("<img") == 2 * 2 + 1
    shutil.rmtree(run / "labels")
    report(ReportOptions(run))
    assert "Labels" not in _page(run / "report.html")


def test_initial_maps_lie_where_the_run_was_told(tmp_path: Path) -> None:
    assert initial_maps(tmp_path, {}) == tmp_path / "labels" / "prior"
    assert initial_maps(tmp_path, {"labels": None, "bootstrap": {"cache": "shared"}}) == Path("shared")
    assert initial_maps(tmp_path, {"maps": "given", "bootstrap": {"cache": "shared"}}) == Path("given")


def test_results_become_tables_and_overlays(tmp_path: Path, scored: tuple[Path, Path]) -> None:
    _, scores = scored
    report(ReportOptions(scores, tmp_path / "page.html"))
    html = _page(tmp_path / "page.html")
    rows = _rows(html)
    assert ["good", "zero-shot", "100.0"] in [row[:3] for row in rows]
    assert ["empty", "zero-shot", "0.0"] in [row[:3] for row in rows]
    assert ["square1", "0.0", "0.0", "100.0", "100.0"] in rows  # files in order of their names
    players = players_in(html)
    assert list(players) == ["square0", "square1"]
    for data in players.values():
        assert [layer["name"] for layer in data["layers"]] == ["truth", "empty", "good"]
        assert data["names"] == [f"{k:05d}" for k in range(6)]
        assert data["layers"][2]["values"]["J"] == [None, 1, 1, 1, 1, None]  # DAVIS scores neither end
        assert len(data["frames"]) == 6


def test_each_result_is_compared_as_its_task_asks(tmp_path: Path, scored: tuple[Path, Path]) -> None:
    """With the ids of the annotation in O-VOS, and all objects as one in Z-VOS, although both are in one player."""
    root, scores = scored
    evaluate(EvaluateOptions("one-shot", root, tmp_path / "good", scores / "carried.json", workers=1))
    report(ReportOptions(scores))
    for data in players_in(_page(scores / "report.html")).values():
        compared = {layer["name"]: layer["byId"] for layer in data["layers"]}
        assert compared == {"truth": False, "carried": True, "empty": False, "good": False}


def test_sequences_of_the_same_name_in_two_datasets_have_a_player_each(
    tmp_path: Path, scored: tuple[Path, Path]
) -> None:
    _, scores = scored
    other = write_squares(tmp_path / "other", videos=2, frames=4)
    masks = other / "Annotations" / "480p"
    evaluate(EvaluateOptions("zero-shot", other, masks, scores / "other.json", workers=1))
    report(ReportOptions(scores))
    html = _page(scores / "report.html")
    names = sorted(folder.name for folder in masks.iterdir())
    identifiers = re.findall(r'<section class="player" id="([^"]*)"', html)
    assert identifiers == [*names, *(f"2:{name}" for name in names)]
    players = players_in(html)
    for name in names:
        assert [len(players[place]["names"]) for place in (name, f"2:{name}")] == [6, 4]
        assert f'href="#{name}"' in html and f'href="#2:{name}"' in html


def test_one_score_file(tmp_path: Path, scored: tuple[Path, Path]) -> None:
    _, scores = scored
    report(ReportOptions(scores))
    report(ReportOptions(scores / "good.json"))  # has a page of its own
    assert "<td>empty</td>" in _page(scores / "report.html")
    html = _page(scores / "good.html")
    assert "<td>good</td>" in html
    assert "<td>empty</td>" not in html


def test_scores_whose_masks_are_gone_keep_their_tables(tmp_path: Path, scored: tuple[Path, Path]) -> None:
    _, scores = scored
    shutil.rmtree(tmp_path / "good")
    shutil.rmtree(tmp_path / "empty")
    report(ReportOptions(scores))
    html = _page(scores / "report.html")
    assert "100.0" in html
    assert "no longer" in html


def test_folder_of_masks_alone_is_drawn_over_its_videos(tmp_path: Path, scored: tuple[Path, Path]) -> None:
    root, _ = scored
    report(ReportOptions(tmp_path / "good", tmp_path / "plain.html"))
    report(ReportOptions(tmp_path / "good", tmp_path / "over.html", videos=root))
    plain, over = _page(tmp_path / "plain.html"), _page(tmp_path / "over.html")
    for name, data in players_in(plain).items():
        assert data["frames"] == []  # the masks are drawn over black
        assert [layer["name"] for layer in data["layers"]] == ["good"]
        drawn = players_in(over)[name]
        assert len(drawn["frames"]) == 6
        assert [layer["name"] for layer in drawn["layers"]] == ["truth", "good"]
        assert drawn["layers"][0]["masks"] == drawn["layers"][1]["masks"] == data["layers"][0]["masks"]


def test_mask_is_drawn_in_its_colour_where_it_lies(tmp_path: Path) -> None:
    mask = np.zeros((8, 10), np.uint8)
    mask[2:4, 3:6] = 2
    write_mask(tmp_path / "00000.png", mask)
    drawn = mask_picture(tmp_path / "00000.png", "00000", None)
    np.testing.assert_array_equal(drawn, np.where(mask[..., None] > 0, PALETTE[2], 0))


def test_mask_over_its_frame_is_tinted_inside_and_white_along_its_outline(tmp_path: Path, moving_squares: Make) -> None:
    root = moving_squares(videos=1, frames=3)
    video = find_videos(root)[0]
    path = root / "Annotations" / "480p" / video.name / "00001.png"
    mask = read_mask(path)
    drawn = mask_picture(path, "00001", video)
    scale = drawn.shape[0] // 48
    assert drawn.shape == (48 * scale, 64 * scale, 3)
    assert drawn.shape[1] >= 300
    centre = [int(axis.mean() * scale) for axis in np.nonzero(mask)]
    top, left = (int(axis.min() * scale) for axis in np.nonzero(mask))
    frame = cv2.resize(video[1], None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    expected = 0.4 * PALETTE[1] + 0.6 * frame[centre[0], centre[1]]
    np.testing.assert_allclose(drawn[centre[0], centre[1]], expected, atol=1)
    assert (drawn[top, left] == 255).all()


def test_page_of_ours_is_replaced_and_others_are_not(tmp_path: Path) -> None:
    run = _run(tmp_path / "run")
    report(ReportOptions(run))
    report(ReportOptions(run))
    mine = tmp_path / "mine.html"
    mine.write_text("<p>my own</p>")
    with pytest.raises(InputError, match=r"mine\.html: is there already"):
        report(ReportOptions(run, mine))
    assert mine.read_text() == "<p>my own</p>"


def _missing(folder: Path) -> Path:
    return folder / "nowhere"


def _bare(folder: Path) -> Path:
    return folder


def _no_step(folder: Path) -> Path:
    (folder / "metrics.csv").write_text("step,total\n")
    return folder


def _damaged_metrics(folder: Path) -> Path:
    (folder / "metrics.csv").write_text("step,total\n0,1.0\n1,what\n")
    return folder


def _damaged_config(folder: Path) -> Path:
    (folder / "metrics.csv").write_text("step,total\n0,1.0\n")
    (folder / "config.yaml").write_text("a: [1\n")
    return folder


def _cut_scores(folder: Path) -> Path:
    (folder / "scores.json").write_text('{"task": "zero-sh')
    return folder


def _no_scores(folder: Path) -> Path:
    (folder / "other.json").write_text(json.dumps({"a": 1}))
    return folder / "other.json"


def _cut_picture(folder: Path) -> Path:
    run = _run(folder / "run")
    picture = run / "pictures" / "0000040_tracking.png"
    picture.write_bytes(picture.read_bytes()[:60])
    return run


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_missing, "nowhere: no such file or folder"),
        (_bare, "holds no metrics.csv, score file or mask"),
        (_no_step, "metrics.csv: holds no step yet"),
        (_damaged_metrics, "metrics.csv: is damaged"),
        (_damaged_config, "config.yaml: is no valid YAML"),
        (_cut_scores, "scores.json: is no JSON"),
        (_no_scores, "other.json: holds no scores"),
        (_cut_picture, "0000040_tracking.png: cannot be decoded"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: Callable[[Path], Path], words: str
) -> None:
    source = spoil(tmp_path)
    assert main(["report", str(source)]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not list(tmp_path.rglob("report.html"))


def test_half_written_last_step_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "metrics.csv"
    file.write_text("step,total,short\n0,1.5,\n1,1.25,0.5\n2,1.")
    metrics = read_metrics(file)
    assert metrics["step"] == [0, 1]
    assert metrics["total"] == [1.5, 1.25]
    assert np.isnan(metrics["short"][0])
    assert metrics["short"][1] == 0.5


def test_page_escapes_its_title(tmp_path: Path) -> None:
    write_page(tmp_path / "x.html", "<script>", [])
    assert "<h1>&lt;script&gt;</h1>" in _page(tmp_path / "x.html")
