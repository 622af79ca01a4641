"""Co-segmentation scores: mean J per class, over classes and over images (AGNN Sec. 4.2)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from downstream.data.groups import Group, find_groups
from downstream.metrics.region import jaccard
from downstream.scoring.meeting import Meeting, score_jobs
from downstream.scoring.result_masks import mean
from downstream.scoring.tables import Row, Table
from downstream.scoring.workers import score_each
from mug.errors import InputError
from mug.media.listing import mask_files, sequence_folders
from mug.media.masks import VOID, read_mask


def score_groups(
    gt: Path,
    pred: Path,
    split: str | None = None,
    threshold: float | None = None,
    meeting: Meeting | None = None,
) -> dict[str, Any]:
    """Scores a folder of co-segmentation masks.

    J is averaged over images whose mask contains the object. Some of the Internet images contain none; the number of
    those with a non-empty result is counted separately.

    Args:
        gt: Root for `downstream.data.groups.find_groups`; images without a mask are not scored.
        pred: Folder of `<class>/<image>.png`.
        split: Split of PASCAL VOC: `train`, `val` or `test`.
        threshold: Must be None: soft maps are not supported.
        meeting: Shares the groups with other shards.

    Returns:
        `J` with `mean` over the classes and `image_mean` over all images, `groups` and counts, in fractions. Values
        that cannot be measured are NaN.

    Raises:
        InputError: a result is missing, of another size, or not a mask.
    """
    if threshold is not None:
        raise InputError(f"--threshold {threshold}: is for zero-shot results; give masks for --task cosegmentation")
    groups = find_groups(gt, split)
    annotated = [group for group in groups if any(group.masks)]
    if not annotated:
        raise InputError(f"{gt}: has no masks to score against; they belong in <class>/GroundTruth/<image>.png")
    _check_predictions(annotated, {group.name for group in groups}, gt, pred)
    jobs = {group.name: _Job(group, mask_files(pred / group.name)) for group in annotated}
    scores = score_jobs(jobs, partial(score_each, _score_group, workers=1), meeting)
    counts = {key: sum(entry["counts"][key] for entry in scores.values()) for key in ("images", "without", "found")}
    everything = [value for entry in scores.values() for value in entry["J"]["images"].values()]
    return {
        "task": "cosegmentation",
        "gt": str(gt),
        "pred": str(pred),
        "split": split,
        "counts": {"groups": len(scores)} | counts,
        "J": {"mean": mean([entry["J"]["mean"] for entry in scores.values()]), "image_mean": mean(everything)},
        "groups": scores,
    }


def _check_predictions(groups: Sequence[Group], known: set[str], gt: Path, pred: Path) -> None:
    if not pred.is_dir():
        raise InputError(f"{pred}: no such folder; give the folder that holds <class>/<image>.png")
    if unknown := sorted(set(sequence_folders(pred)) - known):
        raise InputError(f"{pred / unknown[0]}: {gt} has no such class; remove it or check --gt")
    for group in groups:
        wanted = [image.stem for image, mask in _pairs(group) if mask is not None]
        there = mask_files(pred / group.name)
        if missing := [pred / group.name / f"{name}.png" for name in wanted if name not in there]:
            others = f" with {len(missing) - 1} more of {len(wanted)} of this class" if len(missing) > 1 else ""
            raise InputError(f"{missing[0]}: is missing{others}; every image with a mask is scored")


class _Job(NamedTuple):
    """A group with its result masks."""

    group: Group
    predictions: dict[str, Path]


def _score_group(job: _Job) -> dict[str, Any]:
    group, predictions = job
    values, without, found = {}, 0, 0
    for index, (image, _) in enumerate(_pairs(group)):
        truth = group.mask(index)
        if truth is None:
            continue
        prediction = _prediction(predictions[image.stem], truth.shape)
        void = truth == VOID
        shown = truth == 1
        if shown.any():
            values[image.stem] = jaccard(prediction, shown, void)
        else:
            without += 1
            found += bool((prediction & ~void).any())
    return {
        "J": {"mean": mean(list(values.values())), "images": values},
        "counts": {"images": len(values), "without": without, "found": found},
    }


def _prediction(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Reads a result mask, HW bool."""
    mask = read_mask(path)
    if mask.shape != shape:
        sizes = [f"{width}x{height}" for height, width in (mask.shape, shape)]
        raise InputError(f"{path}: is {sizes[0]} where its annotation is {sizes[1]}; write results at that size")
    highest = int(mask[mask != VOID].max(initial=0))
    if highest > 1:
        raise InputError(f"{path}: holds {highest}, and a co-segmentation mask only 0 and 1, or 0 and 255")
    return mask == 1


def _pairs(group: Group) -> list[tuple[Path, Path | None]]:
    return list(zip(group.images, group.masks, strict=True))


def groups_table(scores: dict[str, Any]) -> Table:
    """The table for scores of `score_groups`."""
    counts = scores["counts"]
    rows = [(name, entry["J"]["mean"], entry["counts"]["images"]) for name, entry in scores["groups"].items()]
    means: list[Row] = [
        (f"mean of {counts['groups']} classes", scores["J"]["mean"], ""),
        ("mean of all images", scores["J"]["image_mean"], counts["images"]),
    ]
    found = f"{counts['without']} images show no object; something was found in {counts['found']} of them"
    notes = [found] if counts["without"] else []
    return Table("cosegmentation, per cent", ("class", "J mean", "images"), [rows, means], notes)
