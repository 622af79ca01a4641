"""The page of `mug demo`: scores and pictures of what was learned without labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from downstream.data.kinds import open_dataset
from downstream.pages.affinity import affinity_parts
from downstream.pages.html import heading, paragraph, part, strip, table, tiles, write_page
from downstream.pages.mask_pictures import mask_picture, spread
from downstream.pages.player import film_of, fit, player
from downstream.pages.results import Scores, score_table, sequence_j
from downstream.pages.run import curve_parts, picture_parts, read_metrics
from downstream.pages.terms import PRETRAINING
from downstream.scoring.tables import percent
from mug.media.masks import read_soft
from mug.media.plain import read_json
from mug.media.video import Video, find_videos

SHOWN = 3
"""Number of test videos shown in pictures."""


@dataclass(frozen=True)
class Folders:
    """Layout of a demo's folder."""

    out: Path

    @property
    def train(self) -> Path:
        """Training videos, without masks."""
        return self.out / "videos" / "train"

    @property
    def test(self) -> Path:
        """Test videos with masks; O-VOS is given the first mask, the others are only for scoring."""
        return self.out / "videos" / "test"

    @property
    def run(self) -> Path:
        """The pretraining run."""
        return self.out / "run"

    @property
    def trained(self) -> Path:
        """Weights after pretraining."""
        return self.run / "phi.safetensors"

    @property
    def untrained(self) -> Path:
        """Weights before pretraining."""
        return self.out / "untrained.safetensors"

    def priors(self, name: str) -> Path:
        """Initial maps Q of the training or the test videos."""
        return self.out / "priors" / name

    def results(self, name: str) -> Path:
        """Result masks of one of `COMPETITORS`."""
        return self.out / "results" / name

    def scored(self, name: str) -> Path:
        """The masks of one of `COMPETITORS` that are scored: all unrefined but those of the last."""
        if name == "zero-shot-prior":
            return self.priors("test")
        if name == "zero-shot-refined":
            return self.results("zero-shot-adapted")
        return self.results(name) / "raw" if name.startswith("zero-shot") else self.results(name)

    def scores(self, name: str) -> Path:
        """Scores of one of `COMPETITORS`."""
        return self.out / "scores" / f"{name}.json"


COMPETITORS = {
    "one-shot-untrained": "O-VOS, untrained phi",
    "one-shot-trained": "O-VOS, trained phi",
    "zero-shot-prior": "Z-VOS, the motion prior alone",
    "zero-shot-paper": "Z-VOS, trained phi, paper mode",
    "zero-shot-untrained": "Z-VOS, untrained phi, adapted mode",
    "zero-shot-adapted": "Z-VOS, trained phi, adapted mode",
    "zero-shot-refined": "Z-VOS, the same, refined along the edges of the frames",
}
"""Methods that are compared."""
FILM_BYTES = 700_000
"""Approximate maximum size of a player, a third of it for features."""


def write_demo_page(at: Folders, record: Mapping[str, Any]) -> Path:
    """Writes `report.html` of a finished demo.

    Args:
        at: Folders of the demo.
        record: Command and duration of each step, and whether it is the miniature.

    Returns:
        Path of the page.
    """
    page = at.out / "report.html"
    write_page(page, "MuG learns from unlabeled video", _parts(at, record))
    return page


def _parts(at: Folders, record: Mapping[str, Any]) -> Iterator[Markup]:
    scores = {name: read_json(at.scores(name)) for name in COMPETITORS}
    videos = find_videos(at.test)
    yield from _summary(at, scores, record, len(videos))
    yield heading("Scores")
    yield score_table(scores, COMPETITORS)
    yield paragraph(
        "J is the overlap of a mask with the true one (intersection over union), F how well their outlines agree. The "
        "first and the last frame of a video do not count. The untrained phi has the same architecture, batch-norm "
        "statistics fitted to the training videos, and a matching temperature of its own, chosen for both in the same "
        "way on videos that are neither trained nor tested on.",
        "soft",
    )
    yield from _one_shot(at, scores, videos[:SHOWN])
    yield from _zero_shot(at, scores, videos[:SHOWN])
    yield from _players(at, scores, videos[:SHOWN])
    yield from affinity_parts(at.untrained, at.trained, videos[:SHOWN], _truth(at))
    yield from picture_parts(at.run / "pictures")
    yield from curve_parts(read_metrics(at.run / "metrics.csv"), PRETRAINING)
    yield from _steps(record)


def _summary(at: Folders, scores: Mapping[str, Scores], record: Mapping[str, Any], tested: int) -> Iterator[Markup]:
    if record["quick"]:
        yield paragraph(
            "This is the miniature of the demo: it only shows that everything runs; its numbers mean nothing."
        )
    learned = len(find_videos(at.train))
    other = "another video" if tested == 1 else f"{tested} other videos"
    minutes = sum(step["seconds"] for step in record["steps"].values()) / 60
    yield paragraph(
        f"A small network, phi, has watched {learned} short videos that nobody labeled. It learned from four questions "
        "that a video answers by itself: what stands out in a frame, where a patch goes and whether it comes back, how "
        "one frame maps onto another, and which frames are of one video. Then it was asked two things about "
        f"{other}: carry a given first mask through the video (O-VOS), and find the main object when "
        f"nothing is given (Z-VOS). From the first video to this page it took {minutes:.1f} minutes."
    )
    j = {name: entry["J"]["mean"] for name, entry in scores.items()}
    pairs = (
        ("O-VOS, mean J: untrained, then trained phi", "one-shot-untrained", "one-shot-trained"),
        ("Z-VOS, mean J: the prior, then adapted", "zero-shot-prior", "zero-shot-adapted"),
    )
    yield tiles(
        (f"{name} ({100 * (j[after] - j[before]):+.1f})", f"{percent(j[before])} → {percent(j[after])}")
        for name, before, after in pairs
    )
    if record["quick"]:
        return
    yield paragraph(
        f"In the adapted mode, phi before any training comes to {percent(j['zero-shot-untrained'])}: what lifts Z-VOS "
        "there is the test video itself. What pretraining is worth shows in O-VOS.",
        "soft",
    )


def _one_shot(at: Folders, scores: Mapping[str, Scores], videos: list[Video]) -> Iterator[Markup]:
    yield heading("O-VOS: a first mask, carried through the video")
    yield paragraph(
        "Each cell of a new frame asks the cells of the frames before it which of them it resembles.", "soft"
    )
    for video in videos:
        yield heading(video.name, 3)
        frames = spread(list(video.frame_names))
        for name in ("one-shot-untrained", "one-shot-trained"):
            yield _masks(video, frames, at.scored(name), _caption(name, scores, video))
        yield _masks(video, frames, _truth(at), "truth")


def _zero_shot(at: Folders, scores: Mapping[str, Scores], videos: list[Video]) -> Iterator[Markup]:
    yield heading("Z-VOS: the main object, nothing given")
    yield paragraph(
        "The prior Q is what moves by itself. In paper mode the readout that pretraining learned answers alone; in "
        "adapted mode the video's own motion joins it, and it is refined on that video, still without a label.",
        "soft",
    )
    for video in videos:
        yield heading(video.name, 3)
        frames = spread(list(video.frame_names))
        maps = [read_soft(at.priors("test") / video.name / f"{frame}.png") for frame in frames]
        yield strip([_frame(video, frame) for frame in frames], "frames")
        yield strip(maps, f"prior Q: {_j('zero-shot-prior', scores, video)}")
        for name in ("zero-shot-paper", "zero-shot-adapted"):
            yield _masks(video, frames, at.scored(name), _caption(name, scores, video))
        yield _masks(video, frames, _truth(at), "truth")


def _players(at: Folders, scores: Mapping[str, Scores], videos: list[Video]) -> Iterator[Markup]:
    from downstream.pages.features import features, open_matcher

    yield heading("The same, to play")
    yield paragraph(
        "Two results side by side, frame by frame, with the truth and what differs from it. Click a place in the "
        "picture to see what each phi takes it for in another frame.",
        "soft",
    )
    folders = {title: at.scored(name) for name, title in COMPETITORS.items()}
    entries = {title: scores[name] for name, title in COMPETITORS.items()}
    matchers = [open_matcher(at.untrained, "untrained phi"), open_matcher(at.trained, "trained phi")]
    for video in videos:
        film = film_of(video.name, video, folders, entries, open_dataset(at.test))
        size, frames = fit(film, FILM_BYTES * 2 // 3)
        found = [features(video, frames, matcher, FILM_BYTES // 3 // len(matchers)) for matcher in matchers]
        yield player(film, size, frames, filter(None, found))


def _masks(video: Video, frames: list[str], folder: Path, caption: str) -> Markup:
    return strip([mask_picture(folder / video.name / f"{frame}.png", frame, video) for frame in frames], caption)


def _caption(name: str, scores: Mapping[str, Scores], video: Video) -> str:
    return f"{COMPETITORS[name].partition(', ')[2]}: {_j(name, scores, video)}"


def _j(name: str, scores: Mapping[str, Scores], video: Video) -> str:
    return f"J {percent(sequence_j(scores[name], video.name))}"


def _truth(at: Folders) -> Path:
    return at.test / "Annotations" / "480p"


def _frame(video: Video, name: str) -> np.ndarray:
    frame: np.ndarray = video[list(video.frame_names).index(name)]
    return frame


def _steps(record: Mapping[str, Any]) -> Iterator[Markup]:
    yield heading("What was done")
    rows = [(title, f"{step['seconds']:.0f}") for title, step in record["steps"].items()]
    yield table(("step", "seconds"), rows)
    yield part("commands", [step["command"] for step in record["steps"].values()])
