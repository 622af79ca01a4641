"""Pages as a browser shows them: run by `make test-browser`, which needs Chromium and the extra `browser`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from downstream.evaluate import EvaluateOptions, evaluate
from downstream.report import ReportOptions, report
from mug.media.masks import read_mask, write_mask

pytestmark = pytest.mark.browser
WIDTHS = {"desktop": 1280, "phone": 390}
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
FRAMES = 7
SIZE = (96, 128)
SQUARE = 32
BLACK = "01"
"""The sequence whose frames are black, so that drawn masks have their own colours."""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """The system's browser; the tests are skipped where there is none, or no driver."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs pip install 'mug-vos[browser]'")
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip("needs Chromium: make test-browser")
    with playwright.sync_playwright() as driver:
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = driver.chromium.launch(executable_path=program, args=options)
        yield browser
        browser.close()


def place(index: int) -> tuple[int, int]:
    """Top and left of the object in a frame."""
    return 20 + 2 * index, 16 + 10 * index


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pages of two and of three results on three sequences, and that of a run."""
    at = tmp_path_factory.mktemp("pages")
    rng = np.random.default_rng(0)
    texture, ground = (rng.integers(0, 255, (12, 16, 3), np.uint8).repeat(8, 0).repeat(8, 1) for _ in range(2))
    for number, name in enumerate(("00", BLACK, "02")):
        for index in range(FRAMES):
            y, x = place(index)
            mask = np.zeros(SIZE, np.uint8)
            mask[y : y + SQUARE, x : x + SQUARE] = 1
            frame = ground // 3
            frame[y : y + SQUARE, x : x + SQUARE] = texture[:SQUARE, :SQUARE]
            for kind, suffix, image in (("JPEGImages", "jpg", frame), ("Annotations", "png", 255 * mask)):
                file = at / "data" / kind / "480p" / name / f"{index:05d}.{suffix}"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image * (0 if name == BLACK and suffix == "jpg" else 1)).save(file, quality=95)
            half = mask.copy()
            half[:, x + SQUARE // 2 :] = 0
            half[y : y + SQUARE, max(x - 2 * number - index, 0) : x] = 1
            write_mask(at / "good" / name / f"{index:05d}.png", mask)
            write_mask(at / "half" / name / f"{index:05d}.png", half)
            write_mask(at / "a result with a long name" / name / f"{index:05d}.png", mask - (half & mask))
    preds, pair = [at / "good", at / "half"], at / "scores" / "pair.json"
    evaluate(EvaluateOptions("zero-shot", at / "data", preds, pair, stability=False, workers=1))
    (at / "good" / ".00.json").write_text('{"settings": {"backbone": "mug", "weights": null}}')
    report(ReportOptions(pair, at / "results.html"))
    three = at / "scores" / "three.json"
    preds.append(at / "a result with a long name")
    evaluate(EvaluateOptions("zero-shot", at / "data", preds, three, stability=False, workers=1))
    report(ReportOptions(three, at / "three.html"))
    return {"results": at / "results.html", "three": at / "three.html", "run": _run_page(at / "run")}


def _run_page(run: Path) -> Path:
    run.mkdir()
    rows = [f"{k},{1 + k // 60},{3 - k / 60:.3f},0.07{k:03d}0{k:02d},{0.5 + k / 999:.3f}" for k in range(99)]
    (run / "metrics.csv").write_text("\n".join(["step,round,total,temperature,share_frame", *rows]) + "\n")
    for name, map_hw in (("prior", np.eye(24)), ("round1", np.eye(24)[::-1])):
        file = run / "labels" / name / "one" / "00000.png"
        file.parent.mkdir(parents=True)
        Image.fromarray((255 * map_hw).astype(np.uint8)).save(file)
    report(ReportOptions(run))
    return run / "report.html"


class Shown(NamedTuple):
    """An open page with what went wrong in it."""

    page: Any
    faults: list[str]

    def player(self, sequence: str) -> Any:
        """The player of a sequence, opened."""
        section = self.page.locator(f'[id="{sequence}"]')
        section.scroll_into_view_if_needed()
        self.page.wait_for_function("id => document.getElementById(id).dataset.frame", arg=sequence)
        return section

    def pixel(self, canvas: Any, x: float, y: float) -> list[int]:
        """A pixel (x, y) of a canvas as RGB."""
        return self.pixels(canvas, x, y, 1, 1)[0, 0].tolist()

    def pixels(self, canvas: Any, x: float, y: float, width: int, height: int) -> np.ndarray:
        """Pixels of a canvas as RGB, from a copy: Chromium warns of a canvas that is read often."""
        script = """(c, box) => {
            const copy = new OffscreenCanvas(c.width, c.height).getContext('2d', { willReadFrequently: true });
            copy.drawImage(c, 0, 0);
            return [...copy.getImageData(...box).data];
        }"""
        found = canvas.evaluate(script, [round(x), round(y), width, height])
        return np.array(found).reshape(height, width, 4)[..., :3]


@pytest.fixture(params=WIDTHS)
def opened(request: pytest.FixtureRequest, chromium: Any) -> Iterator[Any]:
    """Opens pages at the width of a desktop and of a phone, the latter dark; faults of the page fail the test."""
    made: list[Shown] = []

    def show(path: Path, fragment: str = "") -> Shown:
        dark = request.param == "phone"
        page = chromium.new_page(
            viewport={"width": WIDTHS[request.param], "height": 800}, color_scheme="dark" if dark else "light"
        )
        shown = Shown(page, [])
        page.on("console", lambda message: shown.faults.append(message.text) if message.type != "log" else None)
        page.on("pageerror", lambda error: shown.faults.append(str(error)))
        page.on("request", lambda r: None if r.url.startswith(("data:", "file:")) else shown.faults.append(r.url))
        page.goto(path.as_uri() + fragment)
        made.append(shown)
        return shown

    yield show
    for shown in made:
        shown.page.close()
        assert not shown.faults


def frame_of(player: Any) -> int:
    """Number of the frame that a player shows."""
    return int(player.get_attribute("data-frame"))


@pytest.mark.parametrize("kind", ["results", "three", "run"])
def test_page_fits_the_screen_and_has_no_fault(opened: Any, pages: dict[str, Path], kind: str) -> None:
    page = opened(pages[kind]).page
    for top in range(0, page.evaluate("document.body.scrollHeight"), 500):
        page.evaluate("top => scrollTo(0, top)", top)
        page.wait_for_timeout(50)
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
    figures = page.locator("figure.chart, section.player .plot")
    assert figures.count() == page.locator(".uplot").count() > 0
    plots = page.locator(".plot")
    for number in range(plots.count()):
        assert plots.nth(number).evaluate("p => p.scrollWidth <= p.clientWidth && p.clientWidth > 200")


def test_scrubber_moves_the_picture_and_the_curve(opened: Any, pages: dict[str, Path]) -> None:
    shown = opened(pages["results"])
    player = shown.player("00")
    canvases = player.locator(".pane canvas").first, player.locator(".plot canvas")
    before = [canvas.evaluate("c => c.toDataURL()") for canvas in canvases]
    player.locator("input[name=frame]").fill("4")
    assert frame_of(player) == 4
    assert "00004" in player.locator("output").inner_text()
    shown.page.wait_for_timeout(100)
    after = [canvas.evaluate("c => c.toDataURL()") for canvas in canvases]
    assert before[0] != after[0]
    assert before[1] != after[1]


def test_playing_goes_on_by_itself_until_it_is_stopped(opened: Any, pages: dict[str, Path]) -> None:
    shown = opened(pages["results"])
    player = shown.player("00")
    player.locator(".play").click()
    shown.page.wait_for_function("document.getElementById('00').dataset.frame > 1")
    player.locator(".play").click()
    at = frame_of(player)
    shown.page.wait_for_timeout(200)
    assert frame_of(player) == at


def test_curve_moves_the_player(opened: Any, pages: dict[str, Path]) -> None:
    player = opened(pages["results"]).player("00")
    box = player.locator(".u-over").bounding_box()
    for share, frame in ((0.51, 3), (0.99, 6), (0.01, 0)):
        player.locator(".u-over").click(position={"x": share * box["width"], "y": 20})
        assert frame_of(player) == frame
        assert player.locator("input[name=frame]").input_value() == str(frame)


def test_each_pane_shows_the_result_that_is_chosen_and_so_does_the_curve(opened: Any, pages: dict[str, Path]) -> None:
    shown = opened(pages["three"])
    player = shown.player(BLACK)
    player.locator("input[name=opacity]").fill("100")
    y, x = place(0)
    second, right = player.locator(".pane canvas").nth(1), (x + 24, y + 16)
    assert shown.pixel(second, *right) == [0, 0, 0]
    player.locator(".pane select").nth(1).select_option("a result with a long name")
    assert shown.pixel(second, *right) == [255, 40, 40]
    assert player.locator(".uplot").count() == 1
    labels = player.locator(".u-legend th").all_inner_texts()
    assert [label for label in labels if label.startswith("J")] == ["J good", "J a result with a long name"]
    box = player.locator(".u-over").bounding_box()
    player.locator(".u-over").click(position={"x": 0.51 * box["width"], "y": 20})
    assert frame_of(player) == 3


def test_columns_sort_both_ways_and_the_mean_stays_last(opened: Any, pages: dict[str, Path]) -> None:
    page = opened(pages["results"]).page
    table = page.locator("table.sortable").first
    heads = table.locator("th button").all_inner_texts()
    column = next(number for number, head in enumerate(heads) if head.split() == ["J", "half"])

    def values() -> list[float]:
        return [float(text) for text in table.locator(f"tbody td:nth-child({column + 1})").all_inner_texts()]

    table.locator("th button").nth(column).click()
    assert values() == sorted(values(), reverse=True)
    assert len(set(values())) > 1
    assert table.locator("th").nth(column).get_attribute("aria-sort") == "descending"
    table.locator("th button").nth(column).click()
    assert values() == sorted(values())
    table.locator("th button").first.click()
    assert table.locator("tbody td:first-child").all_inner_texts() == ["00", "01", "02"]
    assert table.locator("tfoot td").first.inner_text() == "mean"


def test_views_and_opacity(opened: Any, pages: dict[str, Path]) -> None:
    """Over black frames, a mask has its own colour times the opacity, and parts of the difference have theirs."""
    shown = opened(pages["results"])
    player = shown.player(BLACK)
    player.locator("input[name=frame]").fill("3")
    good, half = (player.locator(".pane canvas").nth(k) for k in (0, 1))
    y, x = place(3)
    left, right, out = (x + 8, y + 16), (x + 24, y + 16), (x - 3, y + 16)
    player.locator("input[name=opacity]").fill("100")
    red = shown.pixel(good, *left)
    assert red == [255, 40, 40]
    assert shown.pixel(good, *right) == red
    assert shown.pixel(half, *left) == red
    assert shown.pixel(half, *right) == [0, 0, 0]
    player.locator("input[name=opacity]").fill("50")
    np.testing.assert_allclose(shown.pixel(good, *left), [128, 20, 20], atol=2)
    player.locator("input[name=opacity]").fill("100")
    player.get_by_role("button", name="Difference").click()
    colours = [shown.pixel(half, *point) for point in (left, right, out)]
    assert colours == [[38, 166, 154], [255, 152, 0], [233, 30, 120]]
    assert player.locator(".legend").is_visible()
    assert "J 100.0" in player.locator(".values").nth(0).inner_text()
    player.get_by_role("button", name="Truth").click()
    assert player.locator(".pane").nth(1).is_hidden()
    assert shown.pixel(good, *right) == red
    player.get_by_role("button", name="Frame").click()
    assert shown.pixel(good, *right) == [0, 0, 0]


def test_click_on_a_point_shows_where_it_lies_in_another_frame(opened: Any, pages: dict[str, Path]) -> None:
    """In its own frame it lies where it is; elsewhere the heat is drawn where the affinity is highest."""
    shown = opened(pages["results"])
    player = shown.player("00")
    assert player.locator(".affinity").is_hidden()
    player.locator("input[name=frame]").fill("2")
    y, x = place(2)
    canvas = player.locator(".pane canvas").first
    box = canvas.bounding_box()
    point = {"x": (x + 16) / SIZE[1] * box["width"], "y": (y + 16) / SIZE[0] * box["height"]}
    canvas.click(position=point)
    assert player.locator(".affinity").is_visible()
    found = player.locator(".found")
    shown.page.wait_for_function("document.querySelector('.found').dataset.best")
    player.locator("input[name=other]").fill("2")
    shown.page.wait_for_function("document.querySelector('.found figcaption').textContent.includes('00002')")
    best = [int(value) for value in found.get_attribute("data-best").split(",")]
    assert best == [round((x + 16) / 8), round((y + 16) / 8)]
    r, g, b = shown.pixel(found.locator("canvas"), best[0] * 8, best[1] * 8)
    assert r > 200
    assert r > g > b
    before = found.locator("canvas").evaluate("c => c.toDataURL()")
    player.locator("input[name=other]").fill("5")
    shown.page.wait_for_function("document.querySelector('.found figcaption').textContent.includes('00005')")
    assert found.locator("canvas").evaluate("c => c.toDataURL()") != before
    there = [int(value) for value in found.get_attribute("data-best").split(",")]
    y, x = place(5)
    assert np.abs(np.subtract(there, [(x + 16) / 8, (y + 16) / 8])).max() <= 1


def test_address_leads_to_a_frame(opened: Any, pages: dict[str, Path]) -> None:
    shown = opened(pages["results"], "#02/00004")
    shown.page.wait_for_function("document.getElementById('02').dataset.frame === '4'")
    assert shown.page.evaluate("scrollY") > 0
    shown.page.evaluate("scrollTo(0, 0)")
    link = shown.page.locator("figcaption a").first
    sequence, frame = link.get_attribute("href")[1:].split("/")
    link.click()
    shown.page.wait_for_function(
        "([id, at]) => document.getElementById(id).dataset.frame == at", arg=[sequence, int(frame)]
    )


def test_masks_are_those_on_disk(opened: Any, pages: dict[str, Path]) -> None:
    """Every pixel of the drawn mask but its outline."""
    shown = opened(pages["results"])
    player = shown.player(BLACK)
    player.locator("input[name=opacity]").fill("100")
    player.locator("input[name=frame]").fill("5")
    pixels = shown.pixels(player.locator(".pane canvas").nth(1), 0, 0, *SIZE[::-1])
    mask = read_mask(pages["results"].parent / "half" / BLACK / "00005.png")
    outline = pixels.min(-1) > 200
    expected = np.where(mask[..., None] > 0, [255, 40, 40], 0)
    assert 0 < outline.sum() < 300
    np.testing.assert_allclose(pixels[~outline], expected[~outline], atol=2)  # WebP's black is not quite black
