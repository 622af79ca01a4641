"""How fast J, F and T are scored, beside a straightforward implementation, in one run.

    python benchmarks/scoring.py DATASET RESULTS [--every 10] [--repeat 3]

The straightforward one is what one writes from the definition: each frame read with Pillow, boundaries over the whole
frame, each dilated over the whole frame by a disk, one process. It is timed with two dilations:

- `ndimage`: `scipy.ndimage.binary_dilation`, which is what `skimage.morphology.binary_dilation(boundary, disk(8))` of
  the DAVIS-16 toolkit runs underneath. scipy comes with scikit-learn; scikit-image itself is not needed.
- `cv2`: `cv2.dilate`, as later toolkits do.

It is run on every n-th frame and its time multiplied, as frames cost the same. Its J and F must equal ours. Ours is
run `--repeat` times, all kinds in turn, and the medians are shown. CPU time is that of all processes together.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from scipy import ndimage

from downstream.data.kinds import open_dataset
from downstream.scoring.davis import score_folder
from downstream.scoring.workers import cores
from mug.media.listing import mask_files

Dilation = Callable[[np.ndarray, np.ndarray], np.ndarray]


def by_ndimage(boundary: np.ndarray, disk: np.ndarray) -> np.ndarray:
    """Dilation as scikit-image does it."""
    return ndimage.binary_dilation(boundary, structure=disk)


def by_cv2(boundary: np.ndarray, disk: np.ndarray) -> np.ndarray:
    """Dilation by OpenCV."""
    return cv2.dilate(boundary.astype(np.uint8), disk.astype(np.uint8)) > 0


def boundary_of(mask: np.ndarray) -> np.ndarray:
    """Pixels that differ from their east, south or south-east neighbour."""
    east, south, diagonal = np.zeros_like(mask), np.zeros_like(mask), np.zeros_like(mask)
    east[:, :-1], south[:-1], diagonal[:-1, :-1] = mask[:, 1:], mask[1:], mask[1:, 1:]
    boundary = (mask ^ east) | (mask ^ south) | (mask ^ diagonal)
    boundary[-1], boundary[:, -1] = (mask ^ east)[-1], (mask ^ south)[:, -1]
    boundary[-1, -1] = False
    return boundary


def straightforward(truth_path: Path, path: Path, dilate: Dilation) -> tuple[float, float]:
    """J and F of a frame, from the definition."""
    truth, prediction = (np.array(Image.open(file).convert("L")) > 0 for file in (truth_path, path))
    union = (prediction | truth).sum()
    region = (prediction & truth).sum() / union if union else 1.0
    radius = math.ceil(0.008 * np.linalg.norm(truth.shape))
    grid = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disk = (grid**2).sum(axis=0) <= radius**2
    predicted, true = boundary_of(prediction), boundary_of(truth)
    precision = (predicted & dilate(true, disk)).sum() / predicted.sum() if predicted.any() else 1.0
    recall = (true & dilate(predicted, disk)).sum() / true.sum() if true.any() else 1.0
    if not predicted.any() and not true.any():
        return region, 1.0
    return region, 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def main() -> None:
    """Times all of it and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gt", type=Path, help="dataset root in DAVIS layout")
    parser.add_argument("pred", type=Path, help="results: <sequence>/<frame>.png")
    parser.add_argument("--every", type=int, default=10, help="frames a straightforward run skips to")
    parser.add_argument("--repeat", type=int, default=3, help="how often ours is run")
    options = parser.parse_args()
    cv2.setNumThreads(1)

    kinds = [(stability, workers) for workers in sorted({1, cores()}) for stability in (False, True)]
    spent: dict[tuple[bool, int], list[tuple[float, float]]] = {kind: [] for kind in kinds}
    ours = {}
    for _ in range(options.repeat):
        for stability, workers in kinds:
            start = clocks()
            ours = score_folder(options.gt, options.pred, "zero-shot", stability=stability, workers=workers)
            spent[stability, workers].append(since(start))
    rows = {
        f"mug, {'J F T' if stability else 'J F'}, {workers} process{'es' * (workers > 1)}": np.median(times, axis=0)
        for (stability, workers), times in spent.items()
    }

    dataset = open_dataset(options.gt)
    for dilate in (by_cv2, by_ndimage):
        start, count, total = clocks(), 0, 0
        for sequence, entry in ours["sequences"].items():
            files = list(dataset.frames(sequence).items())[1:-1]
            results = mask_files(options.pred / sequence)
            total += len(files)
            for index in range(0, len(files), options.every):
                frame, truth = files[index]
                expected = straightforward(truth.path, results[frame], dilate)
                np.testing.assert_allclose((entry["J"]["frames"][index], entry["F"]["frames"][index]), expected)
                count += 1
        rows[f"straightforward, {dilate.__name__[3:]}, J F, 1 process"] = since(start) * (total / count)

    print(f"{ours['counts']['frames']} frames, {cores()} cores; seconds")
    print(f"{'':44}{'wall':>8}{'CPU':>8}")
    for name, (wall, cpu) in rows.items():
        print(f"{name:44}{wall:8.1f}{cpu:8.1f}")


def clocks() -> np.ndarray:
    """Wall-clock and CPU seconds, those of processes that have ended included."""
    used = os.times()
    return np.array([time.perf_counter(), used.user + used.system + used.children_user + used.children_system])


def since(start: np.ndarray) -> np.ndarray:
    """Seconds since `clocks` gave `start`."""
    return clocks() - start


if __name__ == "__main__":
    main()
