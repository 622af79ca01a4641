"""The page of a training run: options, curves, labels of each round, pictures."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from PIL import Image

from downstream.pages.curves import charts, curve, finite, shares, smooth
from downstream.pages.html import heading, paragraph, part, picture, table, tiles
from downstream.pages.labels import label_parts
from downstream.pages.terms import FINETUNING, PRETRAINING, SHARES, Term
from mug.errors import InputError
from mug.media.plain import read_yaml


def run_parts(run: Path) -> Iterator[Markup]:
    """The options of a run, its curves and its latest pictures.

    Pretraining adds the shares of the gradient and the labels of each round, fine-tuning the graph on a few videos.
    """
    config = _config(run)
    finetuned = "system" in config
    metrics = read_metrics(run / "metrics.csv")
    yield from _summary(metrics)
    yield from curve_parts(metrics, FINETUNING if finetuned else PRETRAINING)
    yield from label_parts(run, config)
    yield from picture_parts(run / "pictures")
    if finetuned:
        from downstream.pages.graph import graph_parts  # loads torch, which no other page needs

        yield from graph_parts(run, config)
    yield heading("The run")
    yield table(("option", "value"), _facts(config), "From config.yaml, which holds all of them.", words=True)


def _summary(metrics: Mapping[str, list[float]]) -> Iterator[Markup]:
    """How far the run is."""
    facts = [("steps", f"{metrics['step'][-1] + 1:.0f}")]
    if "round" in metrics:
        facts.append(("rounds", f"{metrics['round'][-1]:.0f}"))
    # not the total: terms join it after the warm-up
    pretrained = (("warp", "loss of known warps"), ("readout", "loss of foreground"))
    for name, title in pretrained if "total" in metrics else (("video", "loss on video"), ("iou", "J of a step")):
        _, values = finite(metrics["step"], metrics.get(name, [math.nan] * len(metrics["step"])))
        if len(values):
            mean = smooth(values)
            facts.append((f"{title}, first and last", f"{mean[0]:.3g} → {mean[-1]:.3g}"))
    yield tiles(facts)


def _config(run: Path) -> Mapping[str, Any]:
    file = run / "config.yaml"
    config = read_yaml(file) if file.is_file() else {}
    return config if isinstance(config, Mapping) else {}


FACTS = (
    "system", "videos", "data", "labels", "stills", "hold", "model.backbone", "model.embedding.kind",
    "model.embedding.backbone", "model.channels", "model.graph", "model.iterations", "model.gated", "sample.size",
    "sample.videos", "sample.nodes", "batch", "rounds", "steps", "warmup.steps", "weights", "scratch", "optimiser",
    "bootstrap.prior", "bootstrap.refine", "engine.precision", "seed",
)  # fmt: skip
"""Main options of either kind of run, by dotted name."""


def _facts(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in FACTS:
        value: Any = config
        for key in name.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        repeated = name == "steps" and isinstance(config.get("rounds"), list)
        if value not in (None, []) and not repeated:
            yield name, _in_words(value)


def _in_words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_in_words(entry)}" for key, entry in value.items() if entry is not None)
    return f"{value:g}" if isinstance(value, float) else str(value)


def curve_parts(metrics: Mapping[str, list[float]], terms: Mapping[str, Term]) -> Iterator[Markup]:
    """The curves of a run, one per recorded column, and the shares of the gradient; dashed lines separate the rounds.

    Args:
        metrics: Columns of metrics.csv.
        terms: Columns to plot, in order.
    """
    x, rounds = metrics["step"], metrics.get("round", [])
    marks = [x[i] for i in range(1, len(rounds)) if rounds[i] != rounds[i - 1]]
    drawn = [name for name in terms if _recorded(metrics, name)]
    yield heading("Curves")
    parted = " Dashed lines part the rounds of bootstrapping." if marks else ""
    yield paragraph(f"Faint: each step; strong: smoothed.{parted}", "soft")
    yield charts(curve(terms[name].title, x, metrics[name], marks, *terms[name][1:]) for name in drawn)
    named = {title: metrics[name] for name, title in SHARES.items() if _recorded(metrics, name)}
    if named:
        yield heading("Who teaches? Shares of the gradient")
        yield paragraph(
            "How much of the gradient of the shared layers comes from each term. A term below 0.01 teaches next to "
            "nothing, however large its loss.",
            "soft",
        )
        yield shares("Share of each term", x, named)


def _recorded(metrics: Mapping[str, list[float]], name: str) -> bool:
    return name in metrics and not all(math.isnan(value) for value in metrics[name])


def read_metrics(path: Path) -> dict[str, list[float]]:
    """The columns of a metrics.csv; missing values are NaN, and a truncated last line is left out.

    Raises:
        InputError: the file contains no step, or is malformed.
    """
    text = path.read_text(errors="replace")
    rows = list(csv.reader(text[: text.rfind("\n") + 1].splitlines()))
    header, body = (rows[0], rows[1:]) if rows else ([], [])
    if "step" not in header or not body:
        raise InputError(f"{path}: holds no step yet; wait until the run has made some")
    try:
        columns = [[float(cell) if cell else math.nan for cell in column] for column in zip(*body, strict=True)]
        return dict(zip(header, columns, strict=True))
    except ValueError:
        raise InputError(f"{path}: is damaged; restore it from the run") from None


PICTURES = {
    "masks": "Frames of a training step, at the size of training: above the annotation, below what was found.",
    "labels": "Frames, the maps they are taught, P of the single frame, and the readout from r.",
    "tracking": "Tracking: a patch (green) followed through two frames and back; red is where it came out.",
    "warps": "A frame, its warped copy, and the frame brought onto it by kappa; then two distant frames alike.",
}


def picture_parts(folder: Path) -> Iterator[Markup]:
    """The latest picture of each kind of a run."""
    latest = {file.stem.partition("_")[2]: file for file in sorted(folder.glob("*.png"))}
    if latest:
        yield heading("Pictures")
        yield part("pictures", [_captioned(name, file) for name, file in latest.items()])


def _captioned(name: str, file: Path) -> Markup:
    step = file.stem.partition("_")[0].lstrip("0") or "0"
    return picture(read_picture(file), f"{PICTURES.get(name, name)} After {step} steps.")


def read_picture(path: Path) -> np.ndarray:
    """An image file as HWC uint8 RGB.

    Raises:
        InputError: the file cannot be decoded.
    """
    try:
        with Image.open(path) as image:
            return np.array(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path}: cannot be decoded, it may be truncated; remove it") from error
