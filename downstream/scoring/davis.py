"""J, F and T of result masks as defined by the DAVIS benchmarks, for all sequences of any dataset."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from downstream.data.dataset import Annotation, Dataset, Kind
from downstream.data.davis import INFO_FILE
from downstream.data.kinds import open_dataset
from downstream.metrics.boundary import f_measure
from downstream.metrics.region import jaccard
from downstream.metrics.sequence import statistics
from downstream.metrics.temporal import contour_descriptors, instability
from downstream.scoring.class_means import add_class_means
from downstream.scoring.meeting import Meeting, score_jobs
from downstream.scoring.result_masks import (
    as_foreground,
    check_folders,
    check_threshold,
    mean,
    read_pair,
    result_frames,
)
from downstream.scoring.workers import score_each
from mug.errors import InputError
from mug.media.masks import VOID

Task = Literal["zero-shot", "one-shot"]
Scores = dict[str, Any]

STEADY_DAVIS16 = (
    "blackswan",
    "camel",
    "car-roundabout",
    "car-shadow",
    "cows",
    "dog",
    "drift-straight",
    "kite-surf",
    "paragliding-launch",
    "scooter-black",
    "soapbox",
)
"""Sequences of the DAVIS-16 validation set without heavy occlusion, on which T is measured."""
ANY_OBJECT = 0
"""Identity of the union of all objects."""


def score_folder(gt: Path, pred: Path, task: Task, **settings: Any) -> Scores:
    """Scores one folder of results; see `score_results`."""
    return score_results(gt, {"": pred}, task, **settings)[""]


def score_results(
    gt: Path,
    preds: Mapping[str, Path],
    task: Task,
    threshold: float | None = None,
    split: str | None = None,
    stability: bool = True,
    workers: int = 1,
    only_existing: bool = False,
    kind: Kind | None = None,
    meeting: Meeting | None = None,
) -> dict[str, Scores]:
    """Scores folders of results on the same frames, given by the protocol of the dataset.

    For DAVIS these are all frames but the first and the last of a sequence; for other datasets all annotated frames,
    with `one-shot` those after the frame in which an object is given.

    Args:
        gt: Dataset root.
        preds: Folders of `<sequence>/<frame>.png`, by name.
        task: `zero-shot` scores the union of all objects, `one-shot` each given object.
        threshold: Share of 255 above which a soft map is foreground; None reads masks.
        split: Split of the dataset; None takes all.
        stability: Whether to measure T, which takes most of the time and requires annotations of every frame.
        workers: Number of processes. With more than one, a calling script needs an `if __name__ == "__main__"` guard.
        only_existing: Leave out sequences and frames that one of the results lacks, and list them in `missing`.
        kind: Kind of dataset; None recognises it by its layout.
        meeting: Shares the sequences with other shards.

    Returns:
        For each result `J`, `F`, `J&F`, `T`, `T_all`, `sequences` and counts, in fractions; `attributes` if the dataset
        has them. Means are over the objects of all sequences, as in DAVIS-17. Values that cannot be measured are NaN.

    Raises:
        InputError: a result is missing, unexpected, of another size, or not a mask.
    """
    if threshold is not None and task != "zero-shot":
        raise InputError(f"--threshold: a soft map has no object ids; give masks for --task {task}")
    check_threshold(threshold)
    if workers < 1:
        raise InputError(f"--workers {workers}: must be at least 1")
    dataset = open_dataset(gt, kind)
    counted = dataset.scored(split, given=task == "one-shot")
    if not only_existing:
        _refuse_short(dataset, counted)
    names = [name for name, frames in counted.items() if frames]
    stability &= dataset.dense
    steady, attributes = dataset.steady(), dataset.attributes()
    for pred in preds.values():
        check_folders(dataset, names, pred, only_existing)
    jobs: dict[_Key, _Job] = {}
    missing: dict[str, list[str]] = {}
    for name in names:
        found = {key: result_frames(dataset, name, preds[key]) for key in preds}
        frames = [frame for frame in counted[name] if all(frame in entry for entry in found.values())]
        if len(frames) < len(counted[name]):
            missing[name] = [frame for frame in counted[name] if frame not in frames]
            if not only_existing:
                _refuse_missing(preds, name, found, missing[name])
        if frames:
            annotated = dataset.frames(name)
            truth = {frame: annotated[frame] for frame in counted[name]}
            starts = {ANY_OBJECT: 0} if task == "zero-shot" else _starts(dataset, name, list(annotated), frames)
            for key in preds:
                jobs[key, name] = _Job(starts, truth, found[key], frames, threshold, stability)
    if not jobs:
        raise InputError(f"{next(iter(preds.values()))}: has no frame that counts; nothing can be scored")
    results = score_jobs(jobs, partial(_scored, workers), meeting)
    scores = {}
    for key, pred in preds.items():
        sequences = {name: results[key, name] for name in names if (key, name) in results}
        facts: Scores = {"task": task, "gt": str(gt), "dataset": dataset.kind, "pred": str(pred)}
        facts |= {"split": split, "threshold": threshold}
        if only_existing:
            facts["missing"] = _missing(missing, set(sequences))
            facts["missing"]["too_short"] = [name for name, frames in counted.items() if not frames]
        scores[key] = facts | _summary(sequences, steady, attributes)
        add_class_means(scores[key], dataset.classes())
    return scores


_Key = tuple[str, str]
"""Names of a result and a sequence."""


class _Job(NamedTuple):
    """One sequence of one result."""

    starts: dict[int, int]
    """The objects, each with the index in `frames` from which it is scored."""
    truth: dict[str, Annotation]
    """The annotations of the protocol, in order; those in `frames` are scored, the others are gaps."""
    predictions: dict[str, Path]
    frames: list[str]
    threshold: float | None
    stability: bool


def _refuse_short(dataset: Dataset, counted: Mapping[str, Sequence[str]]) -> None:
    """Raises an error that names the first sequence without a frame that counts."""
    if short := [name for name, frames in counted.items() if not frames]:
        count = f"has {len(dataset.frames(short[0]))} annotated frames"
        others = f", as do {len(short) - 1} others" if len(short) > 1 else ""
        raise InputError(
            f"{dataset.annotations / short[0]}: {count}{others}; the first and the last do not count, so at least 3 "
            "are needed; add some, or leave it out with --only-existing"
        )


def _refuse_missing(
    preds: Mapping[str, Path], name: str, found: Mapping[str, Mapping[str, Path]], missing: Sequence[str]
) -> None:
    """Raises an error that names the first missing mask."""
    for key, pred in preds.items():
        if lacking := [frame for frame in missing if frame not in found[key]]:
            others = f" with {len(lacking) - 1} more of this sequence" if len(lacking) > 1 else ""
            raise InputError(
                f"{pred / name / lacking[0]}.png: is missing{others}; every annotated frame that counts is needed, or "
                "add --only-existing"
            )


def _missing(frames: Mapping[str, Sequence[str]], scored: set[str]) -> dict[str, Any]:
    """What was left out: names of whole sequences, and frames of the others."""
    return {
        "sequences": [name for name in frames if name not in scored],
        "frames": {name: list(entry) for name, entry in frames.items() if name in scored},
    }


def _starts(dataset: Dataset, name: str, annotated: Sequence[str], frames: Sequence[str]) -> dict[int, int]:
    """For each object, the index of the first scored frame after the one in which it is given."""
    given = dataset.given(name)
    places = {frame: annotated.index(frame) for frame in (*given, *frames)}
    starts: dict[int, int] = {}
    for frame, mask in given.items():
        after = sum(places[other] <= places[frame] for other in frames)
        for identity in np.unique(mask).tolist():
            if identity not in (0, VOID) and after < len(frames):
                starts.setdefault(identity, after)
    if not starts:
        first = dataset.frames(name)[annotated[0]].path
        raise InputError(f"{first}: the first annotation has no object; --task one-shot scores those it has")
    return starts


def _scored(workers: int, jobs: Mapping[_Key, _Job]) -> Iterator[tuple[_Key, Scores]]:
    """Scores the sequences, longest first."""
    longest = sorted(jobs, key=lambda key: -len(jobs[key].frames) * len(jobs[key].starts))
    return score_each(score_sequence, {key: jobs[key] for key in longest}, workers)


def score_sequence(job: _Job) -> Scores:
    """Scores of a sequence: means over its objects, values per frame and, if it has several objects, those of each.

    Raises:
        InputError: a file is unreadable, differs in size from its annotation, is not a mask, or belongs to another run.
    """
    values = {measure: np.full((len(job.starts), len(job.frames)), np.nan) for measure in "JF"}
    shapes: list[dict[str, np.ndarray | None]] = [{} for _ in job.starts]
    ignored: set[int] = set()
    written: dict[str, Path] = {}
    for number, frame in enumerate(job.frames):
        path = job.predictions[frame]
        truth, prediction, encoding = read_pair(job.truth[frame], path, job.threshold, len(job.starts))
        written.setdefault(encoding, path)
        if {"binary", "ids"} <= written.keys():
            raise InputError(
                f"{written['ids']}: holds object ids, and {written['binary'].name} beside it 0 and 255; one of them is "
                "left from another run: write the results anew"
            )
        void = truth == VOID
        if ANY_OBJECT not in job.starts:
            ignored |= set(np.flatnonzero(np.bincount(prediction.ravel())).tolist()) - {0, *job.starts}
        for row, (identity, start) in enumerate(job.starts.items()):
            if number < start:
                continue
            masks = _select(prediction, identity), _select(truth, identity), void if void.any() else None
            values["J"][row, number] = jaccard(*masks)
            values["F"][row, number] = f_measure(*masks)
            if job.stability:
                shapes[row][frame] = contour_descriptors(masks[0])
    objects = []
    for row, start in enumerate(job.starts.values()):
        # a left-out frame has no contour, so its neighbours are not taken as successive
        steadiness = instability([shapes[row].get(frame) for frame in job.truth])
        entry = _object_scores({measure: values[measure][row, start:] for measure in "JF"})
        objects.append(entry | {"T": mean(steadiness)})
    scores = _mean_scores(objects)
    scores["frame_names"] = job.frames
    for measure in "JF":
        scores[measure]["frames"] = [mean(frame) for frame in values[measure].T]
    if len(objects) > 1:
        scores["objects"] = {str(identity): entry for identity, entry in zip(job.starts, objects, strict=True)}
    if ignored:
        scores["ignored_ids"] = sorted(ignored)
    return scores


def _select(mask: np.ndarray, identity: int) -> np.ndarray:
    return as_foreground(mask) if identity == ANY_OBJECT else mask == identity


def _object_scores(values: dict[str, np.ndarray]) -> Scores:
    return {measure: statistics(values[measure]) | {"frames": values[measure].tolist()} for measure in "JF"}


def _mean_scores(entries: Sequence[Scores]) -> Scores:
    scores: Scores = {
        measure: {key: mean([entry[measure][key] for entry in entries]) for key in ("mean", "recall", "decay")}
        for measure in "JF"
    }
    return scores | {"T": mean([entry["T"] for entry in entries])}


def objects_of(sequence: Scores) -> list[Scores]:
    """The scores of each object of a sequence."""
    return list(sequence.get("objects", {"": sequence}).values())


def _summary(sequences: dict[str, Scores], marked: set[str] | None, attributes: Mapping[str, Sequence[str]]) -> Scores:
    """Means over the objects of all sequences; T also over the sequences selected for it."""
    objects = {name: objects_of(entry) for name, entry in sequences.items()}
    everything = [entry for entries in objects.values() for entry in entries]
    source, steady = _steady(list(sequences), marked)
    means = _mean_scores(everything)
    summary = {
        "counts": {
            "sequences": len(sequences),
            "objects": len(everything),
            "frames": sum(len(entry["J"]["frames"]) for entry in sequences.values()),
        },
        "J": means["J"],
        "F": means["F"],
        "J&F": {"mean": (means["J"]["mean"] + means["F"]["mean"]) / 2},
        "T": {
            "mean": mean([entry["T"] for name in steady for entry in objects[name]]),
            "list": source,
            "sequences": steady,
        },
        "T_all": {"mean": means["T"]},
        "sequences": sequences,
    }
    if attributes:
        having = {key: [name for name in names if name in objects] for key, names in attributes.items()}
        summary["attributes"] = {
            key: {"sequences": names} | _mean_scores([entry for name in names for entry in objects[name]])
            for key, names in having.items()
            if names
        }
    return summary


def _steady(names: Sequence[str], marked: set[str] | None) -> tuple[str, list[str]]:
    """The source of the list of sequences for T, and the sequences."""
    if marked is not None:
        return f"eval_t of {INFO_FILE}", [name for name in names if name in marked]
    if davis := [name for name in names if name in STEADY_DAVIS16]:
        return "built-in list of DAVIS-16", davis
    return "all", list(names)
