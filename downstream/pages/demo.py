"""The page of `mug demo`: what was learned without labels, in numbers and in pictures."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from downstream.backbones.by_name import suited_temperature
from downstream.pages.html import heading, image_tag, paragraph, strip, table, tiles, write_page
from downstream.pages.mask_pictures import draw
from downstream.report import Scores, curves, percent, picture_parts, read_json, score_table, sequence_j, spread
from mug.checkpoint import load_weights
from mug.frames import to_tensor
from mug.media.masks import read_mask, read_soft
from mug.media.video import Video, find_videos
from mug.model import MuG

SHOWN = 3
"""Test videos that are shown in pictures."""
HEAT = np.array([255, 120, 0], np.float32)


@dataclass(frozen=True)
class Folders:
    """What lies where in a demo's folder."""

    out: Path

    @property
    def train(self) -> Path:
        """Videos without masks."""
        return self.out / "videos" / "train"

    @property
    def test(self) -> Path:
        """Other videos with masks, of which O-VOS is given the first; the others are for scoring alone."""
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
        """Weights before it."""
        return self.out / "untrained.safetensors"

    def priors(self, name: str) -> Path:
        """Initial maps Q of the training or the test videos."""
        return self.out / "priors" / name

    def results(self, name: str) -> Path:
        """Masks of one of `COMPETITORS`."""
        return self.out / "results" / name

    def scores(self, name: str) -> Path:
        """Its scores."""
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
"""What is scored side by side; all masks but those of the last row are raw."""


def write_demo_page(at: Folders, record: Mapping[str, Any]) -> Path:
    """Writes `report.html` of a demo whose every step is done.

    Args:
        at: The demo.
        record: Which steps were done by which command, how long each took, and whether it is the miniature.

    Returns:
        The page.
    """
    page = at.out / "report.html"
    write_page(page, "MuG learns from unlabeled video", _parts(at, record))
    return page


def _parts(at: Folders, record: Mapping[str, Any]) -> Iterator[str]:
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
    yield from _affinity(at, videos[:SHOWN])
    yield from picture_parts(at.run / "pictures")
    yield heading("Curves of pretraining")
    yield curves(at.run / "metrics.csv")
    yield from _steps(record)


def _summary(at: Folders, scores: Mapping[str, Scores], record: Mapping[str, Any], tested: int) -> Iterator[str]:
    if record["quick"]:
        yield paragraph(
            "This is the miniature of the demo: it only shows that everything runs; its numbers mean nothing."
        )
    learned = len(find_videos(at.train))
    minutes = sum(step["seconds"] for step in record["steps"].values()) / 60
    yield paragraph(
        f"A small network, phi, has watched {learned} short videos that nobody labeled. It learned from four questions "
        "that a video answers by itself: what stands out in a frame, where a patch goes and whether it comes back, how "
        "one frame maps onto another, and which frames are of one video. Then it was asked two things about "
        f"{tested} other videos: carry a given first mask through the video (O-VOS), and find the main object when "
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
    yield paragraph(
        f"In the adapted mode, phi before any training comes to {percent(j['zero-shot-untrained'])}: what lifts Z-VOS "
        "there is the test video itself. What pretraining is worth shows in O-VOS.",
        "soft",
    )


def _one_shot(at: Folders, scores: Mapping[str, Scores], videos: list[Video]) -> Iterator[str]:
    yield heading("O-VOS: a first mask, carried through the video")
    yield paragraph(
        "Each cell of a new frame asks the cells of the frames before it which of them it resembles.", "soft"
    )
    for video in videos:
        yield heading(video.name, 3)
        frames = spread(list(video.frame_names))
        for name in ("one-shot-untrained", "one-shot-trained"):
            yield _masks(video, frames, at.results(name), _caption(name, scores, video))
        yield _masks(video, frames, _truth(at), "truth")


def _zero_shot(at: Folders, scores: Mapping[str, Scores], videos: list[Video]) -> Iterator[str]:
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
            yield _masks(video, frames, at.results(name) / "raw", _caption(name, scores, video))
        yield _masks(video, frames, _truth(at), "truth")


def _masks(video: Video, frames: list[str], folder: Path, caption: str) -> str:
    return strip([draw(folder / video.name / f"{frame}.png", frame, video) for frame in frames], caption)


def _caption(name: str, scores: Mapping[str, Scores], video: Video) -> str:
    return f"{COMPETITORS[name].partition(', ')[2]}: {_j(name, scores, video)}"


def _j(name: str, scores: Mapping[str, Scores], video: Video) -> str:
    return f"J {percent(sequence_j(scores[name], video.name))}"


def _truth(at: Folders) -> Path:
    return at.test / "Annotations" / "480p"


def _frame(video: Video, name: str) -> np.ndarray:
    frame: np.ndarray = video[list(video.frame_names).index(name)]
    return frame


def _steps(record: Mapping[str, Any]) -> Iterator[str]:
    yield heading("What was done")
    rows = [(title, f"{step['seconds']:.0f}") for title, step in record["steps"].items()]
    yield table(("step", "seconds"), rows)
    commands = "".join(f"<li><code>{escape(step['command'])}</code></li>" for step in record["steps"].values())
    yield f"<details><summary>The commands</summary><ol>{commands}</ol></details>"


# --- affinity --------------------------------------------------------------------------------------------------------

POINTS_STYLE = """<style>
#affinity { display: grid; gap: 0.8rem; grid-template-columns: repeat(auto-fit, minmax(14rem, 1fr)); }
#affinity figure { margin: 0; }
#affinity div { position: relative; }
#affinity img { width: 100%; }
#affinity canvas { position: absolute; inset: 0; width: 100%; height: 100%; }
#affinity figure + figure img { filter: grayscale(1) brightness(0.55); }
#affinity figure:first-child canvas { cursor: crosshair; image-rendering: pixelated; }
</style>"""

POINTS_SCRIPT = """<script>
(() => {
  const data = JSON.parse(document.getElementById("affinity-data").textContent);
  const maps = data.maps.map((text) => Uint8Array.from(atob(text), (byte) => byte.charCodeAt(0)));
  const cells = data.rows * data.columns;
  const [asked, ...answers] = document.querySelectorAll("#affinity canvas");
  const paint = (canvas, opacity) => {
    canvas.width = data.columns;
    canvas.height = data.rows;
    const context = canvas.getContext("2d");
    const picture = context.createImageData(data.columns, data.rows);
    for (let i = 0; i < cells; i++) picture.data.set([255, 120, 0, opacity(i)], 4 * i);
    context.putImageData(picture, 0, 0);
  };
  const show = (cell) => {
    paint(asked, (i) => (i === cell ? 255 : 0));
    answers.forEach((canvas, k) => paint(canvas, (i) => maps[k][cell * cells + i]));
  };
  asked.addEventListener("click", (event) => {
    const box = asked.getBoundingClientRect();
    const x = Math.floor(((event.clientX - box.left) / box.width) * data.columns);
    const y = Math.floor(((event.clientY - box.top) / box.height) * data.rows);
    show(Math.min(y, data.rows - 1) * data.columns + Math.min(x, data.columns - 1));
  });
  show(data.start);
})();
</script>"""


def _affinity(at: Folders, videos: list[Video]) -> Iterator[str]:
    models = [load_weights(weights) for weights in (at.untrained, at.trained)]
    yield heading("Affinity: where a point is found again")
    yield paragraph(
        "The point that is marked in the first picture, compared with all places of a later frame: by the untrained "
        "phi in the second picture, by the trained one in the third. The brighter, the more alike (softmax, each phi "
        "at the temperature that suits it)."
    )
    for number, video in enumerate(videos):
        first, later = video[0], video[len(video) // 2]
        maps = [affinity(model, note, first, later) for model, note in models]
        rows, columns = maps[0].shape[:2]
        y, x = middle_cell(read_mask(_truth(at) / video.name / f"{video.frame_names[0]}.png"), (rows, columns))
        images = [_mark(first, (y, x), (rows, columns)), *(_heat(later, heat[y, x]) for heat in maps)]
        yield strip(images, f"{video.name}: the point in frame 0; in frame {len(video) // 2}, untrained and trained")
        if number == 0:
            clickable = _clickable(first, later, maps, y * columns + x)
    yield paragraph(f"Click into the first picture to ask about any other point of {videos[0].name}:")
    yield clickable


@torch.inference_mode()
def affinity(model: MuG, metadata: dict[str, str], query: np.ndarray, source: np.ndarray) -> np.ndarray:
    """How much each cell of a frame resembles each cell of another (MuG Eq. 9), 255 where it does most.

    Args:
        model: In evaluation mode.
        metadata: Of its weights, with the temperature that suits them.
        query: HWC uint8 RGB.
        source: The other frame, of the same size.

    Returns:
        (h, w, h, w) uint8: cell of the query, cell of the source.
    """
    q_cn, s_cn = (_match(model, frame) for frame in (query, source))
    h, w = q_cn.shape[-2:]
    shares = (q_cn.flatten(1).T @ s_cn.flatten(1) / suited_temperature(model, metadata)).softmax(-1)
    scaled = shares / shares.amax(-1, keepdim=True)
    out: np.ndarray = (255 * scaled).round().byte().view(h, w, h, w).numpy()
    return out


def _match(model: MuG, frame: np.ndarray) -> Tensor:
    return model.phi(to_tensor(frame)).match[0]


def middle_cell(mask: np.ndarray, grid: tuple[int, int]) -> tuple[int, int]:
    """The cell (y, x) of a grid that lies deepest in the first object of a mask."""
    height, width = mask.shape
    inside = cv2.distanceTransform((mask == mask[(mask > 0) & (mask < 255)].min()).astype(np.uint8), cv2.DIST_L2, 5)
    y, x = np.unravel_index(int(inside.argmax()), mask.shape)
    return int(y) * grid[0] // height, int(x) * grid[1] // width


def _mark(frame: np.ndarray, cell: tuple[int, int], grid: tuple[int, int]) -> np.ndarray:
    """A frame with a ring around a cell."""
    height, width = frame.shape[:2]
    centre = round((cell[1] + 0.5) * width / grid[1]), round((cell[0] + 0.5) * height / grid[0])
    marked = frame.copy()
    for radius, colour in ((6, (0, 0, 0)), (5, (255, 120, 0)), (4, (255, 120, 0)), (3, (0, 0, 0))):
        cv2.circle(marked, centre, radius, colour, 1, cv2.LINE_AA)
    return marked


def _heat(frame: np.ndarray, map_hw: np.ndarray) -> np.ndarray:
    """A map in glowing colour over a darkened grey frame."""
    height, width = frame.shape[:2]
    alpha = cv2.resize(map_hw.astype(np.float32) / 255, (width, height), interpolation=cv2.INTER_LINEAR)[..., None]
    grey = 0.55 * cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32)
    return np.rint(alpha * HEAT + (1 - alpha) * grey).astype(np.uint8)


def _clickable(first: np.ndarray, later: np.ndarray, maps: list[np.ndarray], start: int) -> str:
    """Three pictures of which the first is clicked into, with the maps of all its cells."""
    rows, columns = maps[0].shape[:2]
    encoded = [base64.b64encode(entry.tobytes()).decode() for entry in maps]
    data = json.dumps({"rows": rows, "columns": columns, "start": start, "maps": encoded})
    shown = ((first, "click here"), (later, "untrained phi"), (later, "trained phi"))
    figures = "".join(
        f"<figure><div>{image_tag(image, text)}<canvas></canvas></div><figcaption>{text}</figcaption></figure>"
        for image, text in shown
    )
    return (
        f'{POINTS_STYLE}<div id="affinity">{figures}</div>'
        f'<script type="application/json" id="affinity-data">{data}</script>{POINTS_SCRIPT}'
    )
