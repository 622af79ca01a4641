"""`mug evaluate --protocol report`: J, F and consecutive-frame IoU as in the AGNN report (Sec. 4.4).

Differences from the DAVIS benchmark (`downstream.scoring.davis`):

| | the report | DAVIS |
|---|---|---|
| frames | all | all but the first and the last of a sequence |
| objects | one foreground | DAVIS-17: each separately |
| tolerance of F | ceil(0.008 max(H, W)) pixels, 7 at 854x480 | ceil(0.008 diagonal) pixels, 8 at 854x480 |
| T | IoU of consecutive results: 1 is steadiest | cost of turning one outline into the next: 0 is steadiest |

Where the report contradicts itself, its formulas are followed: its text says 2 pixels, and divides T by the union of
the annotations. It counts 20 videos in the validation set of DAVIS-17, which has 30.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from downstream.data.dataset import Annotation, Kind
from downstream.data.kinds import open_dataset
from downstream.metrics.boundary import f_measure
from downstream.metrics.region import jaccard
from downstream.scoring.meeting import Meeting, score_jobs
from downstream.scoring.result_masks import as_foreground, check_folders, check_threshold, every_pair, mean, read_pair
from downstream.scoring.tables import Table
from downstream.scoring.workers import score_each
from mug.errors import InputError
from mug.media.masks import VOID

MEASURES = ("J", "F", "T_iou")
TOLERANCE = 0.008
"""Maximum distance between matching boundaries, as a share of the image's longer side."""


def score_by_report(
    gt: Path,
    pred: Path,
    task: str,
    threshold: float | None,
    split: str | None,
    kind: Kind | None = None,
    meeting: Meeting | None = None,
) -> dict[str, Any]:
    """Scores a folder of results by the protocol of the AGNN report (Sec. 4.4).

    Args:
        gt: Dataset root.
        pred: Folder of `<sequence>/<frame>.png`, one for each annotated frame.
        task: Must be `zero-shot`: the report scores one foreground.
        threshold: Share of 255 above which a soft map is foreground; None reads masks.
        split: Split of the dataset; None takes all.
        kind: Kind of dataset; None recognises it by its layout.
        meeting: Shares the sequences with other shards.

    Returns:
        `J`, `F` and `T_iou`, averaged over the frames (for `T_iou` the pairs of successive frames) of each sequence and
        then over sequences; `sequences` with the same for each; and counts. In fractions. `T_iou` of a single-frame
        sequence is NaN and is left out of the mean.

    Raises:
        InputError: the task is another, or a result is missing, of another size, or not a mask.
    """
    if task != "zero-shot":
        raise InputError(f"--protocol report: scores one foreground; use it with --task zero-shot, not {task}")
    check_threshold(threshold)
    dataset = open_dataset(gt, kind)
    names = dataset.sequences(split)
    check_folders(dataset, names, pred)
    jobs = {name: _Job(every_pair(dataset, name, pred, "--protocol report"), threshold) for name in names}
    sequences = score_jobs(jobs, partial(score_each, _score_sequence, workers=1), meeting)
    return {
        "task": task,
        "protocol": "report",
        "gt": str(gt),
        "dataset": dataset.kind,
        "pred": str(pred),
        "split": split,
        "threshold": threshold,
        "counts": {"sequences": len(names), "frames": sum(len(entry["J"]["frames"]) for entry in sequences.values())},
        **{key: {"mean": mean([entry[key]["mean"] for entry in sequences.values()])} for key in MEASURES},
        "sequences": sequences,
    }


def tolerance(height: int, width: int) -> int:
    """Boundary matching radius in pixels, d = ceil(0.008 max(H, W)).

    >>> tolerance(480, 854)
    7
    """
    return math.ceil(TOLERANCE * max(height, width))


class _Job(NamedTuple):
    """The annotations of a sequence with their results."""

    pairs: Sequence[tuple[Annotation, Path]]
    threshold: float | None


def _score_sequence(job: _Job) -> dict[str, Any]:
    values: dict[str, list[float]] = {key: [] for key in MEASURES}
    before: np.ndarray | None = None
    for annotation, path in job.pairs:
        truth, prediction, _ = read_pair(annotation, path, job.threshold)
        found, shown, void = as_foreground(prediction), as_foreground(truth), truth == VOID
        values["J"].append(jaccard(found, shown, void))
        values["F"].append(f_measure(found, shown, void, tolerance(*truth.shape)))
        if before is not None:
            if before.shape != found.shape:
                raise InputError(f"{path}: is of another size than the frame before; a sequence has one size")
            values["T_iou"].append(jaccard(before, found))
        before = found
    return {key: {"mean": mean(values[key]), "frames": values[key]} for key in MEASURES}


def report_table(scores: dict[str, Any]) -> Table:
    """The table for scores of `score_by_report`."""
    return Table(
        "zero-shot by the AGNN report's protocol, per cent",
        ("sequence", *MEASURES),
        [
            [(name, *(entry[key]["mean"] for key in MEASURES)) for name, entry in scores["sequences"].items()],
            [("mean of sequences", *(scores[key]["mean"] for key in MEASURES))],
        ],
        ["T_iou is the IoU of successive results, higher is steadier; it is not the T of DAVIS"],
    )
