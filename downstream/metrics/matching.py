"""J and F of every proposal with every annotated object, and the optimal assignment over a video."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from downstream.metrics.boundary import boundary_map, disk, tolerance


def pairwise(
    prediction: np.ndarray, truth: np.ndarray, proposals: int, objects: int, void: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """J and F of all pairs in one frame, equal to `jaccard` and `f_measure`.

    Args:
        prediction: (H, W) integers, 0 or a proposal from 1.
        truth: (H, W) integers, 0 or an object from 1.
        proposals: P, number of proposals in the video.
        objects: O, number of objects in the video.
        void: (H, W) bool, pixels ignored in both.

    Returns:
        J and F, (P, O) each; 1 if both masks of a pair are empty.
    """
    if void is not None:
        prediction, truth = np.where(void, 0, prediction), np.where(void, 0, truth)
    return _jaccards(prediction, truth, proposals, objects), _f_measures(prediction, truth, proposals, objects)


def assign(value: np.ndarray) -> np.ndarray:
    """Assigns a different proposal to each object so that the sum of values is maximal (Hungarian method).

    Args:
        value: (P, O) with P >= O.

    Returns:
        (O,) rows of `value`.
    """
    rows, columns = linear_sum_assignment(-value)
    return np.asarray(rows[np.argsort(columns)])


def _jaccards(prediction: np.ndarray, truth: np.ndarray, proposals: int, objects: int) -> np.ndarray:
    joint = truth.astype(np.int64) * (proposals + 1) + prediction
    counts = np.bincount(joint.ravel(), minlength=(proposals + 1) * (objects + 1)).reshape(objects + 1, -1).T
    shared = counts[1:, 1:]
    either = counts.sum(1)[1:, None] + counts.sum(0)[None, 1:] - shared
    return np.where(either > 0, shared / np.maximum(either, 1), 1.0)


def _f_measures(prediction: np.ndarray, truth: np.ndarray, proposals: int, objects: int) -> np.ndarray:
    element = disk(tolerance(*truth.shape))
    found = [_outline(prediction == i, element) for i in range(1, proposals + 1)]
    shown = [_outline(truth == i, element) for i in range(1, objects + 1)]
    values = np.empty((proposals, objects))
    for row, (line, reach) in enumerate(found):
        for column, (true_line, true_reach) in enumerate(shown):
            # an empty boundary has precision and recall 1
            precision = float(np.mean(true_reach[line])) if len(line) else 1.0
            recall = float(np.mean(reach[true_line])) if len(true_line) else 1.0
            values[row, column] = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return values


def _outline(mask: np.ndarray, element: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of a mask's boundary pixels, and whether each pixel (H * W,) is near the boundary."""
    boundary = boundary_map(mask)
    line = np.flatnonzero(boundary)
    if not len(line):
        return line, np.zeros(mask.size, bool)
    reach = cv2.dilate(boundary.view(np.uint8), element, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return line, reach.ravel() != 0
