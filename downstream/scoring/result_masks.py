"""Checks and reads result masks for scoring."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from downstream.data.dataset import Annotation, Dataset
from mug.errors import InputError
from mug.media.listing import mask_files, sequence_folders
from mug.media.masks import MAX_LEVELS, VOID, SoftMapError, ids_of, read_mask, read_soft


class Pair(NamedTuple):
    """An annotation and its result, HW uint8 ids of equal size."""

    truth: np.ndarray
    prediction: np.ndarray
    encoding: Literal["binary", "ids", "either"]
    """Encoding of the result: 0/255, ids of several objects, or undecidable from this mask alone."""


def check_folders(dataset: Dataset, names: Sequence[str], pred: Path, only_existing: bool = False) -> None:
    """Checks that results contain all scored sequences and none that the dataset does not have.

    Args:
        dataset: The dataset with the annotations.
        names: The scored sequences.
        pred: The folder of results.
        only_existing: Allow missing sequences, but not all of them.

    Raises:
        InputError: the check fails; names the folder.
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
    """The result masks of a sequence by frame; empty if its folder is missing.

    Raises:
        InputError: a mask belongs to no frame of the sequence, as when left over from another run.
    """
    folder = pred / name
    found = mask_files(folder)
    known = {*dataset.frames(name), *_image_names(dataset, name)}
    if strange := [frame for frame in found if frame not in known]:
        first = folder / f"{strange[0]}.png"
        if shift := _shift(found, known):
            raise InputError(
                f"{folder}: its masks are numbered from {min(found)} and the frames of {name} from {min(known)}; "
                f"subtract {shift} from each name"
            )
        if len(strange) == len(found):
            example = next(iter(dataset.frames(name)))
            raise InputError(f"{first}: is named after no frame of {name}, such as {example}; name masks as frames are")
        others = f" with {len(strange) - 1} more" if len(strange) > 1 else ""
        raise InputError(f"{first}: {name} has no such frame{others}; it is left from another run: remove it")
    return found


def _shift(found: Collection[str], known: Collection[str]) -> int:
    """How much too high the numbers of all masks are, if each is so by as much, else 0."""
    if len(found) != len(known) or not all(name.isdigit() for name in (*found, *known)):
        return 0
    shifts = {int(mask) - int(frame) for mask, frame in zip(sorted(found), sorted(known), strict=True)}
    return shifts.pop() if len(shifts) == 1 else 0


def every_pair(dataset: Dataset, name: str, pred: Path, scoring: str) -> list[tuple[Annotation, Path]]:
    """All annotations of a sequence, each with its result.

    Args:
        dataset: The dataset with the annotations.
        name: The sequence.
        pred: The folder of results.
        scoring: The option that requires all of them, for the error message.

    Raises:
        InputError: a result is missing, or belongs to no frame of the sequence.
    """
    truth, predictions = dataset.frames(name), result_frames(dataset, name, pred)
    if missing := [frame for frame in truth if frame not in predictions]:
        others = f" with {len(missing) - 1} more of this sequence" if len(missing) > 1 else ""
        first = pred / name / f"{missing[0]}.png"
        raise InputError(f"{first}: is missing{others}; {scoring} counts every annotated frame")
    return [(annotation, predictions[frame]) for frame, annotation in truth.items()]


def _image_names(dataset: Dataset, name: str) -> set[str]:
    """Names of all frames of a sequence, annotated or not; empty if there are no images."""
    try:
        return set(dataset.video(name).frame_names)
    except InputError:  # images are not needed for scoring
        return set()


def read_pair(annotation: Annotation, path: Path, threshold: float | None, objects: int = 1) -> Pair:
    """Reads an annotation and its result.

    Args:
        annotation: The annotation.
        path: The result: a mask, or a soft map if `threshold` is given.
        threshold: Share of 255 above which a soft map is foreground.
        objects: Number of objects that the ids must distinguish.

    Raises:
        InputError: a file is unreadable, or the result differs in size, is not a mask, or does not distinguish objects.
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
    """HW bool: the union of all objects of a mask (HW ids), without void."""
    shown: np.ndarray = (mask != 0) & (mask != VOID)
    return shown


def check_threshold(threshold: float | None) -> None:
    """Raises `InputError` unless the threshold is in [0, 1)."""
    if threshold is not None and not 0 <= threshold < 1:
        raise InputError(f"--threshold {threshold}: must be at least 0 and below 1, a share of 255")


def mean(values: Sequence[float] | np.ndarray) -> float:
    """Mean of the values that are not NaN; NaN if there are none."""
    measured = [float(value) for value in values if not math.isnan(value)]
    return sum(measured) / len(measured) if measured else math.nan


def _prediction(path: Path, objects: int) -> tuple[np.ndarray, Literal["binary", "ids", "either"]]:
    try:
        mask = read_mask(path, lone_void=True)
    except SoftMapError as error:
        raise _soft(path, error.brightest) from error
    ids = ids_of(mask)
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
