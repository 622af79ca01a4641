"""Result masks as they are scored: whether they are all there, how they are read, and means of what was measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from downstream.data.dataset import Annotation, Dataset
from mug.errors import InputError
from mug.media.listing import mask_files, sequence_folders
from mug.media.masks import MAX_LEVELS, VOID, SoftMapError, read_mask, read_soft, values_of


class Pair(NamedTuple):
    """An annotation and the result for it, HW uint8 ids of one size."""

    truth: np.ndarray
    prediction: np.ndarray
    encoding: Literal["binary", "ids", "either"]
    """What the result is written as: 0/255, ids of several objects, or what could be part of both."""


def check_folders(dataset: Dataset, names: Sequence[str], pred: Path, only_existing: bool = False) -> None:
    """Refuses results that lack one of the sequences, or have one that the data set does not know.

    Args:
        dataset: What the results are scored against.
        names: The sequences that are scored.
        pred: The folder of results.
        only_existing: Sequences may be missing, but not all of them.

    Raises:
        InputError: naming the folder.
    """
    if not pred.is_dir():
        raise InputError(f"{pred}: no such folder; give the folder that holds <sequence>/<frame>.png")
    found = sequence_folders(pred)
    if not found:
        raise InputError(f"{pred}: holds no <sequence>/<frame>.png; give the folder that the results were written to")
    if unknown := sorted(set(found) - set(dataset.sequences())):
        raise InputError(f"{pred / unknown[0]}: {dataset.annotations} has no such sequence; remove it or check --gt")
    missing = [name for name in names if name not in found]
    if len(missing) == len(names):
        raise InputError(f"{pred}: has none of the {len(names)} sequences that are scored; check --pred and --split")
    if missing and not only_existing:
        count = f"{len(missing)} of {len(names)} sequences, the first is"
        raise InputError(
            f"{pred / missing[0]}: no results for {count} {missing[0]}; add them, or score the others with "
            "--only-existing"
        )


def result_frames(dataset: Dataset, name: str, pred: Path) -> dict[str, Path]:
    """The result masks of a sequence by frame; none where its folder is missing.

    Raises:
        InputError: there is a mask of a frame that the sequence does not have, as other runs leave it behind.
    """
    folder = pred / name
    found = mask_files(folder)
    known = {*dataset.frames(name), *_image_names(dataset, name)}
    if strange := [frame for frame in found if frame not in known]:
        first = folder / f"{strange[0]}.png"
        if len(strange) == len(found):
            example = next(iter(dataset.frames(name)))
            raise InputError(f"{first}: is named after no frame of {name}, such as {example}; name masks as frames are")
        others = f" with {len(strange) - 1} more" if len(strange) > 1 else ""
        raise InputError(f"{first}: {name} has no such frame{others}; it is left from another run: remove it")
    return found


def every_pair(dataset: Dataset, name: str, pred: Path, scoring: str) -> list[tuple[Annotation, Path]]:
    """Each annotation of a sequence and the result for it, where all of them count.

    Args:
        dataset: What the results are scored against.
        name: The sequence.
        pred: The folder of results.
        scoring: The option that asks for all of them, for the message.

    Raises:
        InputError: one is missing, or there is one too many.
    """
    truth, predictions = dataset.frames(name), result_frames(dataset, name, pred)
    if missing := [frame for frame in truth if frame not in predictions]:
        others = f" with {len(missing) - 1} more of this sequence" if len(missing) > 1 else ""
        first = pred / name / f"{missing[0]}.png"
        raise InputError(f"{first}: is missing{others}; {scoring} counts every annotated frame")
    return [(annotation, predictions[frame]) for frame, annotation in truth.items()]


def _image_names(dataset: Dataset, name: str) -> set[str]:
    """Frames of a sequence that have an image, annotated or not."""
    try:
        return set(dataset.video(name).frame_names)
    except InputError:  # scores need no images
        return set()


def read_pair(annotation: Annotation, path: Path, threshold: float | None, objects: int = 1) -> Pair:
    """Reads an annotation and the result for it.

    Args:
        annotation: The annotation.
        path: The result: a mask, or a soft map where `threshold` is given.
        threshold: Share of 255 above which a soft map is foreground.
        objects: How many objects are told apart by their ids.

    Raises:
        InputError: one is unreadable, the result is of another size, no mask, or does not tell objects apart.
    """
    truth = annotation.read()
    if threshold is None:
        prediction, encoding = _prediction(path, objects)
    else:
        prediction, encoding = (read_soft(path) > threshold * 255).astype(np.uint8), "either"
    if prediction.shape != truth.shape:
        sizes = [f"{mask.shape[1]}x{mask.shape[0]}" for mask in (prediction, truth)]
        raise InputError(f"{path}: is {sizes[0]} where its annotation is {sizes[1]}; write results at that size")
    return Pair(truth, prediction, encoding)


def as_foreground(mask: np.ndarray) -> np.ndarray:
    """HW bool: the union of all objects of a mask (HW ids), void left out."""
    shown: np.ndarray = (mask != 0) & (mask != VOID)
    return shown


def check_threshold(threshold: float | None) -> None:
    """Raises `InputError` unless it is a share of 255."""
    if threshold is not None and not 0 <= threshold < 1:
        raise InputError(f"--threshold {threshold}: must be at least 0 and below 1, a share of 255")


def mean(values: Sequence[float] | np.ndarray) -> float:
    """Mean of the values that could be measured; NaN if none could."""
    measured = [float(value) for value in values if not math.isnan(value)]
    return sum(measured) / len(measured) if measured else math.nan


def _prediction(path: Path, objects: int) -> tuple[np.ndarray, Literal["binary", "ids", "either"]]:
    try:
        mask = read_mask(path, lone_void=True)
    except SoftMapError as error:
        raise _soft(path, error.brightest) from error
    ids = [int(value) for value in values_of(mask) if value not in (0, VOID)]
    if ids:
        if ids[-1] > MAX_LEVELS:
            raise _soft(path, ids[-1])
        return mask, "ids" if ids[-1] > 1 else "either"
    shown = mask == VOID
    if not shown.any():
        return mask, "either"
    if objects > 1:
        raise InputError(f"{path}: holds only 0 and 255, which does not tell {objects} objects apart; write their ids")
    return shown.astype(np.uint8), "binary"


def _soft(path: Path, brightest: int) -> InputError:
    return InputError(f"{path}: grey value {brightest} makes it a soft map, not a mask; give --threshold, such as 0.5")
