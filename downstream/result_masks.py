"""Result masks as they are scored: whether they are all there, how they are read, and means of what was measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from downstream.data.dataset import Annotation, Dataset, sequence_folders
from mug.errors import InputError
from mug.masks import MAX_LEVELS, VOID, read_mask, read_soft


def check_folders(dataset: Dataset, names: Sequence[str], pred: Path) -> None:
    """Refuses results that lack one of the sequences, or have one that the data set does not know.

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
    if missing := [name for name in names if name not in found]:
        count = f"{len(missing)} of {len(names)} sequences, the first is"
        raise InputError(f"{pred / missing[0]}: no results for {count} {missing[0]}; every sequence is scored")


def read_pair(annotation: Annotation, path: Path, threshold: float | None) -> tuple[np.ndarray, np.ndarray]:
    """An annotation and the result for it, HW uint8 ids of one size.

    Args:
        annotation: The annotation.
        path: The result: a mask, or a soft map where `threshold` is given.
        threshold: Share of 255 above which a soft map is foreground.

    Raises:
        InputError: one is unreadable, the result is of another size, or not a mask.
    """
    truth, prediction = annotation.read(), _prediction(path, threshold)
    if prediction.shape != truth.shape:
        sizes = [f"{mask.shape[1]}x{mask.shape[0]}" for mask in (prediction, truth)]
        raise InputError(f"{path}: is {sizes[0]} where its annotation is {sizes[1]}; write results at that size")
    return truth, prediction


def foreground(mask: np.ndarray) -> np.ndarray:
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


def per_cent(fraction: float) -> str:
    """One digit after the point; a dash for NaN."""
    return "-" if math.isnan(fraction) else f"{100 * fraction:.1f}"


def _prediction(path: Path, threshold: float | None) -> np.ndarray:
    if threshold is not None:
        return (read_soft(path) > threshold * 255).astype(np.uint8)
    mask = read_mask(path)
    highest = int(mask[mask != VOID].max(initial=0))
    if highest > MAX_LEVELS:
        raise InputError(f"{path}: grey value {highest} makes it a soft map, not a mask; give --threshold, such as 0.5")
    return mask
