"""`mug report`: one HTML page for a run, or for results and their scores."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from markupsafe import Markup
from PIL import Image

from downstream.pages.compare import comparison_parts, is_comparison
from downstream.pages.curves import charts, curve
from downstream.pages.html import check_page, heading, paragraph, picture, strip, table, write_page
from downstream.pages.labels import label_parts
from downstream.pages.mask_pictures import mask_picture, videos_by_name
from downstream.scoring.tables import percent
from mug.errors import InputError
from mug.media.listing import files_of, mask_files, own_name, sequence_folders
from mug.media.video import Video

SEQUENCES = 12
"""Maximum number of sequences shown in pictures; tables list all."""
FRAMES = 4
"""Frames shown per sequence, evenly spread."""

Scores = dict[str, Any]
"""Scores written by `mug evaluate --out`."""


@dataclass
class ReportOptions:
    """Options of `mug report`."""

    run: Path
    """Folder of a run, folder of results (masks, score files or both), or a score file."""
    out: Path | None = None
    """Path of the page; by default `report.html` in that folder."""
    videos: Path | None = None
    """Videos to draw the masks over; by default those of the scored dataset."""


def report(options: ReportOptions) -> None:
    """Writes one self-contained HTML page for a run or for results."""
    source = options.run
    if not source.exists():
        raise InputError(f"{source}: no such file or folder; give a run, a folder of results or a score file")
    folder = source if source.is_dir() else source.parent
    out = options.out or folder / "report.html"
    check_page(out)
    is_run = source.is_dir() and (source / "metrics.csv").is_file()
    parts = run_parts(source) if is_run else results_parts(source, options.videos)
    if not parts:
        raise InputError(f"{source}: holds no metrics.csv, score file or mask; give a run, results or a score file")
    write_page(out, f"mug: {own_name(source)}", parts)
    print(f"{out}: written")


# --- a run -----------------------------------------------------------------------------------------------------------


def run_parts(run: Path) -> list[Markup]:
    """The options of a run, its curves and its latest pictures.

    Pretraining adds the areas of its labels, fine-tuning the graph on a few videos.
    """
    config = _config(run)
    finetuned = "system" in config
    parts = [
        heading("The run"),
        table(("option", "value"), _facts(config), "From config.yaml, which holds all of them.", words=True),
        heading("Curves"),
        curves(run / "metrics.csv", FINETUNE_CURVES if finetuned else CURVES),
        *label_parts(run, config),
        *picture_parts(run / "pictures"),
    ]
    if finetuned:
        from downstream.pages.graph import graph_parts  # loads torch, which no other page needs

        parts += graph_parts(run, config)
    return parts


def _config(run: Path) -> Mapping[str, Any]:
    file = run / "config.yaml"
    try:
        config = yaml.safe_load(file.read_text()) if file.is_file() else {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: is no valid YAML; restore it from the run") from error
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


CURVES = {
    "total": "total loss",
    "warp": "known warps (InfoNCE and kappa)",
    "frame": "frame: foreground, Eq. 2 and 15",
    "readout": "foreground read from r",
    "short": "short term: tracking, Eq. 5",
    "short_error_px": "tracking error, pixels",
    "long": "long term: matching, Eq. 8",
    "inlier_share": "long term: share of inliers",
    "video": "video: instances, Eq. 14",
    "instance_accuracy": "video: instances told apart, share",
    "temperature": "learned matching temperature",
    "share_frame": "share of the gradient: frame",
    "share_readout": "share of the gradient: readout",
    "share_short": "share of the gradient: short term",
    "share_long": "share of the gradient: long term",
    "share_video": "share of the gradient: video",
    "share_warp": "share of the gradient: known warps",
    "lr": "learning rate",
}
"""Columns of metrics.csv to plot, in this order, with their titles."""

FINETUNE_CURVES = {
    "video": "loss on video, Eq. 12",
    "still": "loss on still images, Eq. 12",
    "iou": "J of the masks of a step",
    "grad_norm": "norm of the gradient",
    "lr": "learning rate",
}
"""The same for a fine-tuning run."""


def curves(metrics: Path, titles: Mapping[str, str] = CURVES) -> Markup:
    """The curves of a run, one per recorded column; dashed lines separate the rounds.

    Args:
        metrics: metrics.csv.
        titles: Titles of the columns to plot, in order.

    Raises:
        InputError: the file contains no step.
    """
    steps = read_metrics(metrics)
    x = steps["step"]
    rounds = steps.get("round", [])
    marks = [x[i] for i in range(1, len(rounds)) if rounds[i] != rounds[i - 1]]
    drawn = [name for name in titles if name in steps and not all(math.isnan(value) for value in steps[name])]
    return charts(curve(titles[name], x, steps[name], marks) for name in drawn)


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
    "": "Frames of a training step with their annotation, and with the masks that were found.",
    "labels": "Frames, the maps they are taught, P of the single frame, and the readout from r.",
    "tracking": "Tracking: a patch (green) followed through two frames and back; red is where it came out.",
    "warps": "A frame, its warped copy, and the frame brought onto it by kappa; then two distant frames alike.",
}


def picture_parts(folder: Path) -> Iterator[Markup]:
    """The latest picture of each kind of a run."""
    latest = {file.stem.partition("_")[2]: file for file in sorted(folder.glob("*.png"))}
    if latest:
        yield heading("Pictures")
    for name, file in latest.items():
        step = file.stem.partition("_")[0].lstrip("0") or "0"
        yield picture(read_picture(file), f"{PICTURES.get(name, name)} After {step} steps.")


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


# --- results ---------------------------------------------------------------------------------------------------------


def results_parts(source: Path, videos: Path | None) -> list[Markup]:
    """Score tables, and masks over their frames; empty if there is neither."""
    contents = read_contents(source)
    scores = {name: content for name, content in contents.items() if _is_scores(content)}
    comparisons = {name: content for name, content in contents.items() if is_comparison(content)}
    if source.is_file() and not scores and not comparisons:
        raise InputError(f"{source}: holds no scores; give a file that `mug evaluate --out` wrote")
    parts: list[Markup] = []
    for name, content in comparisons.items():
        parts += [heading(name), *comparison_parts(content, videos)]
    if scores:
        parts += [heading("Scores"), score_table(scores), heading("Sequences", 3), sequence_table(scores)]
    folders = {name: Path(entry["pred"]) for name, entry in scores.items()}
    if not folders and source.is_dir() and sequence_folders(source):
        folders = {own_name(source): source}
    there = {name: folder for name, folder in folders.items() if folder.is_dir()}
    if there:
        shown = list(overlays(there, scores, videos_by_name(videos, next(iter(scores.values()), {}))))
        parts += [heading("Masks"), *shown]
    elif folders:
        parts.append(paragraph("The masks that were scored are no longer where they lay.", "soft"))
    return parts


def read_contents(source: Path) -> dict[str, Any]:
    """Contents of the JSON files of a folder, or of a single file, by file name.

    Raises:
        InputError: a file is not valid JSON.
    """
    files = sorted(files_of(source, (".json",))) if source.is_dir() else [source]
    return {file.stem: read_json(file) for file in files}


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        InputError: the file is not valid JSON.
    """
    try:
        return json.loads(path.read_text())
    except ValueError as error:  # not text, or not JSON
        raise InputError(f"{path}: is no JSON, it may be truncated; write it anew or remove it") from error


def _is_scores(content: Any) -> bool:
    return isinstance(content, dict) and {"task", "gt", "pred", "J", "F", "sequences"} <= content.keys()


def score_table(scores: Mapping[str, Scores], names: Mapping[str, str] | None = None) -> Markup:
    """One row per score file: J, F and T over the whole dataset, in per cent.

    Args:
        scores: Score files by name.
        names: Names to show instead.
    """
    t = [entry.get("T", {}).get("mean") for entry in scores.values()]
    with_t = any(value is not None for value in t)
    header = ("", "task", "J mean", "recall", "decay", "F mean", "recall", "decay", *(["T"] if with_t else []))
    rows = []
    for (name, entry), stability in zip(scores.items(), t, strict=True):
        measures = [entry[measure].get(key) for measure in "JF" for key in ("mean", "recall", "decay")]
        cells = [percent(value) for value in (*measures, *([stability] if with_t else []))]
        task = ", ".join(entry[key] for key in ("task", "protocol") if key in entry)
        rows.append(((names or {}).get(name, name), task, *cells))
    return table(header, rows, "Per cent; higher is better, but for decay and T.")


def sequence_table(scores: Mapping[str, Scores]) -> Markup:
    """Mean J of every sequence, one column per score file."""
    sequences = dict.fromkeys(name for entry in scores.values() for name in entry["sequences"])
    rows = [
        (
            sequence,
            *(percent(entry["sequences"].get(sequence, {}).get("J", {}).get("mean")) for entry in scores.values()),
        )
        for sequence in sequences
    ]
    return table(("J mean", *scores), rows)


def sequence_j(scores: Scores, sequence: str) -> float | None:
    """Mean J of a sequence; None if it was not scored."""
    value: float | None = scores["sequences"].get(sequence, {}).get("J", {}).get("mean")
    return value


def overlays(
    folders: Mapping[str, Path], scores: Mapping[str, Scores], videos: Mapping[str, Video]
) -> Iterator[Markup]:
    """Frames of each sequence with the masks of each results folder."""
    sequences = sorted({name for folder in folders.values() for name in sequence_folders(folder)})
    if len(sequences) > SEQUENCES:
        yield paragraph(f"The first {SEQUENCES} of {len(sequences)} sequences.", "soft")
    for sequence in sequences[:SEQUENCES]:
        yield heading(sequence, 3)
        for name, folder in folders.items():
            files = mask_files(folder / sequence)
            if not files:
                continue
            threshold = scores[name].get("threshold") if name in scores else None
            images = [
                mask_picture(files[frame], frame, videos.get(sequence), threshold) for frame in spread(list(files))
            ]
            yield strip(images, f"{name}: J {percent(sequence_j(scores[name], sequence))}" if name in scores else name)


def spread(frames: Sequence[str], count: int = FRAMES) -> list[str]:
    """A few frames, evenly spread over a sequence; each is the middle of an equal part if there are enough.

    >>> spread(list("abcdefgh"), 4)
    ['b', 'd', 'f', 'h']
    """
    if len(frames) <= count:
        return list(frames)
    return [frames[(2 * k + 1) * len(frames) // (2 * count)] for k in range(count)]
