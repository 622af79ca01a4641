"""What a player shows of a sequence: its frames, its annotation, and results with their scores of each frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from downstream.data.dataset import Dataset
from downstream.pages.mask_pictures import read_result
from downstream.pages.player import Film, Layer, ReadMask
from mug.media.files import natural_key
from mug.media.listing import mask_files
from mug.media.video import Video


def film_of(
    name: str,
    video: Video | None,
    folders: Mapping[str, Path],
    scores: Mapping[str, Mapping[str, Any]],
    dataset: Dataset | None,
) -> Film:
    """A sequence with its annotation and all its results.

    Args:
        name: The sequence.
        video: Its frames.
        folders: Folders of masks, <sequence>/<frame>.png, by the name of the result.
        scores: Scores of the results that have some, as `mug evaluate --out` wrote them.
        dataset: Holds the annotation.
    """
    annotated = dataset.frames(name) if dataset is not None and name in dataset.sequences() else {}
    layers, masked = [], dict.fromkeys(annotated)
    if annotated:
        layers.append(Layer("truth", lambda frame: annotated[frame].read() if frame in annotated else None, True))
    for result, folder in folders.items():
        if files := mask_files(folder / name):
            entry = scores.get(result, {})
            values = _values(entry.get("sequences", {}).get(name, {}), list(annotated))
            by_id = entry.get("task") == "one-shot"
            layers.append(Layer(result, _reader(files, entry.get("threshold")), by_id=by_id, values=values))
            masked |= dict.fromkeys(files)
    if video is not None and not masked.keys() & set(video.frame_names):
        video = None
    names = sorted(masked, key=natural_key) if video is None else list(video.frame_names)
    return Film(name, video, names, layers)


def _reader(files: Mapping[str, Path], threshold: float | None) -> ReadMask:
    return lambda frame: read_result(files[frame], threshold) if frame in files else None


def _values(sequence: Mapping[str, Any], annotated: Sequence[str]) -> dict[str, dict[str, float | None]]:
    """J and F of each frame by name, of the scores of a sequence."""
    values = {}
    for measure in "JF":
        frames = sequence.get(measure, {}).get("frames", [])
        names = sequence.get("frame_names", annotated)
        if frames and len(names) == len(frames):
            values[measure] = dict(zip(names, frames, strict=True))
    return values
