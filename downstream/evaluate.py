"""`mug evaluate`: scores result masks against annotations as the DAVIS benchmarks do."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np

from downstream.class_means import add_class_means
from downstream.data.dataset import Annotation, Dataset, Kind, frame_files
from downstream.data.davis import INFO_FILE
from downstream.data.kinds import open_dataset
from downstream.metrics.boundary import f_measure
from downstream.metrics.region import jaccard
from downstream.metrics.sequence import statistics
from downstream.metrics.temporal import describe, instability
from downstream.report_protocol import print_by_report, score_by_report
from downstream.result_masks import check_folders, check_threshold, foreground, mean, per_cent, read_pair
from downstream.score_groups import print_groups, score_groups
from downstream.unsupervised import print_unsupervised, score_unsupervised
from mug.errors import InputError
from mug.files import atomic_path, require_free_disk
from mug.masks import VOID
from mug.progress import track

Task = Literal["zero-shot", "one-shot"]

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
"""Sequences of the DAVIS-16 validation set without heavy occlusion, over which its T runs."""
ANY_OBJECT = 0
"""Stands for the union of all objects."""


@dataclass
class EvaluateOptions:
    """What `mug evaluate` is asked to do."""

    task: Literal["zero-shot", "one-shot", "unsupervised", "cosegmentation"]
    """`zero-shot`: one foreground, whatever the ids (DAVIS-16). `one-shot`: each object that is given by itself
    (DAVIS-16, DAVIS-17, YouTube-VOS). `unsupervised`: each object with the proposal that suits it best over the video,
    of at most 20 (DAVIS-17). `cosegmentation`: the object of each class of images, J alone."""
    gt: Path
    """Dataset root: DAVIS, YouTube-VOS, YouTube-Objects, FBMS-59, SegTrack v2 or your own; for co-segmentation, folders
    <class>/<image>.jpg with <class>/GroundTruth/<image>.png, or PASCAL VOC 2012."""
    pred: Path
    """Folder with the results: <sequence>/<frame>.png, or <class>/<image>.png."""
    out: Path | None = None
    """JSON file for all scores, down to each frame."""
    threshold: float | None = None
    """The results are soft maps, and foreground is what exceeds this share of 255 (zero-shot)."""
    split: str | None = None
    """Only the sequences of this file in ImageSets (`val`, `2017/val`); of YouTube-VOS: `train`; of FBMS-59: `train` or
    `test`; of PASCAL VOC: `train`, `val` or `test`."""
    dataset: Kind | None = None
    """Which dataset `gt` is; recognised by its layout when not given."""
    protocol: Literal["davis", "report"] = "davis"
    """`report`: as the AGNN report scores (Sec. 4.4): every frame, and consecutive-frame IoU (`T_iou`) instead of T."""
    stability: bool = True
    """Measure T too, which takes most of the time."""
    workers: int | None = None
    """Processes to score with; one per core when not given."""
    overwrite: bool = False
    """Replace `out` if it is there already."""


def evaluate(options: EvaluateOptions) -> None:
    """Scores result masks: J, F and T with mean, recall and decay, per dataset, sequence and frame."""
    if options.out is not None:
        _check_out(options.out, options.overwrite)
    if options.protocol == "report":
        scores = score_by_report(
            options.gt, options.pred, options.task, options.threshold, options.split, options.dataset
        )
        print_by_report(scores)
    elif options.task == "unsupervised":
        scores = score_unsupervised(options.gt, options.pred, options.split, options.threshold, options.dataset)
        print_unsupervised(scores)
    elif options.task == "cosegmentation":
        scores = score_groups(options.gt, options.pred, options.split, options.threshold)
        print_groups(scores)
    else:
        workers = _cores() if options.workers is None else options.workers
        scores = score(
            options.gt,
            options.pred,
            options.task,
            options.threshold,
            options.split,
            options.stability,
            workers,
            options.dataset,
        )
        _print(scores)
    if options.out is not None:
        with atomic_path(options.out) as temporary:
            temporary.write_text(json.dumps(_plain(scores), indent=1, allow_nan=False) + "\n")


def score(
    gt: Path,
    pred: Path,
    task: Task,
    threshold: float | None = None,
    split: str | None = None,
    stability: bool = True,
    workers: int = 1,
    kind: Kind | None = None,
) -> dict[str, Any]:
    """Scores a folder of results on the frames that count by the protocol of the dataset.

    Of DAVIS these are all but the first and the last of a sequence; of other datasets all that are annotated, with
    `one-shot` for each object those after the one it is given in.

    Args:
        gt: Dataset root.
        pred: Folder of `<sequence>/<frame>.png`.
        task: `zero-shot` scores the union of all objects, `one-shot` each object that is given.
        threshold: Share of 255 above which a soft map is foreground; None reads masks.
        split: Part of the dataset; None takes all.
        stability: Whether to measure T, which takes most of the time; it needs every frame annotated.
        workers: Processes. With more than one, a calling script needs its `if __name__ == "__main__"` guard.
        kind: Which dataset it is; None recognises it.

    Returns:
        `J`, `F`, `J&F`, `T`, `T_all`, `sequences` and what was counted, in fractions. Means run over the objects of
        all sequences as in DAVIS-17, which are the sequences themselves where each has one object. NaN is what could
        not be measured.

    Raises:
        InputError: something is missing, of another size, or not a mask.
    """
    if threshold is not None and task != "zero-shot":
        raise InputError(f"--threshold: a soft map has no object ids; give masks for --task {task}")
    check_threshold(threshold)
    if workers < 1:
        raise InputError(f"--workers {workers}: must be at least 1")
    dataset = open_dataset(gt, kind)
    counted = dataset.scored(split, given=task == "one-shot")
    check_folders(dataset, list(counted), pred)
    stability &= dataset.dense
    jobs = [_job(dataset, name, frames, pred, task, threshold, stability) for name, frames in counted.items()]
    results = dict(_run(jobs, workers))
    about = {"task": task, "gt": str(gt), "dataset": dataset.kind, "pred": str(pred), "split": split}
    summary = _summary({name: results[name] for name in counted}, dataset.steady())
    add_class_means(summary, dataset.classes())
    return about | {"threshold": threshold} | summary


class _Job(NamedTuple):
    """A sequence to score: the files of the frames that count, in order."""

    name: str
    objects: list[int]
    starts: list[int]
    """From which of the frames on each object counts."""
    truth: list[Annotation]
    predictions: list[Path]
    threshold: float | None
    stability: bool


def _job(
    dataset: Dataset,
    name: str,
    counted: Sequence[str],
    pred: Path,
    task: Task,
    threshold: float | None,
    stability: bool,
) -> _Job:
    truth, predictions = dataset.frames(name), frame_files(pred / name)
    if missing := [frame for frame in counted if frame not in predictions]:
        others = f" with {len(missing) - 1} more of this sequence" if len(missing) > 1 else ""
        first = pred / name / f"{missing[0]}.png"
        raise InputError(f"{first}: is missing{others}; every annotated frame that counts is needed")
    starts = {ANY_OBJECT: 0} if task == "zero-shot" else _starts(dataset, name, list(truth), counted)
    files = [predictions[frame] for frame in counted]
    return _Job(name, list(starts), list(starts.values()), [truth[f] for f in counted], files, threshold, stability)


def _starts(dataset: Dataset, name: str, annotated: Sequence[str], counted: Sequence[str]) -> dict[int, int]:
    """From which of the frames that count on each object counts: the first after the one it is given in."""
    given = dataset.given(name)
    places = {frame: annotated.index(frame) for frame in (*given, *counted)}
    starts: dict[int, int] = {}
    for frame, mask in given.items():
        after = sum(places[other] <= places[frame] for other in counted)
        for identity in np.unique(mask).tolist():
            if identity not in (0, VOID) and after < len(counted):
                starts.setdefault(identity, after)
    if not starts:
        first = dataset.frames(name)[annotated[0]].path
        raise InputError(f"{first}: the first annotation has no object; --task one-shot scores those it has")
    return starts


def _run(jobs: Sequence[_Job], workers: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Scores the sequences, the longest first so that no process is left with it in the end."""
    jobs = sorted(jobs, key=lambda job: -len(job.truth) * len(job.objects))
    if min(workers, len(jobs)) == 1:
        for job in track(jobs, "scoring"):
            yield job.name, score_sequence(job)
        return
    # not forked: threads that a library has started do not survive that, and whoever waits for one waits for ever
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=context, initializer=_enter_worker) as pool:
        futures = {pool.submit(score_sequence, job): job.name for job in jobs}
        try:
            for future in track(as_completed(futures), "scoring", total=len(futures)):
                yield futures[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _enter_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is answered by the parent
    cv2.setNumThreads(1)


def score_sequence(job: _Job) -> dict[str, Any]:
    """Scores of a sequence: its objects' means, its values per frame and, where it has several objects, each of them.

    Raises:
        InputError: a file is unreadable, of another size than its annotation, or not a mask.
    """
    values = {measure: np.full((len(job.objects), len(job.truth)), np.nan) for measure in "JFT"}
    outlines: list[np.ndarray | None] = [None] * len(job.objects)
    ignored: set[int] = set()
    for frame, (annotation, path) in enumerate(zip(job.truth, job.predictions, strict=True)):
        truth, prediction = read_pair(annotation, path, job.threshold)
        void = truth == VOID
        if job.objects != [ANY_OBJECT]:
            ignored |= set(np.flatnonzero(np.bincount(prediction.ravel())).tolist()) - {0, *job.objects}
        for row, (identity, start) in enumerate(zip(job.objects, job.starts, strict=True)):
            if frame < start:
                continue
            masks = _select(prediction, identity), _select(truth, identity), void if void.any() else None
            values["J"][row, frame] = jaccard(*masks)
            values["F"][row, frame] = f_measure(*masks)
            if job.stability:
                outline = describe(masks[0])
                values["T"][row, frame] = instability(outlines[row], outline)
                outlines[row] = outline
    objects = [
        _object_scores({measure: values[measure][row, start:] for measure in "JFT"})
        for row, start in enumerate(job.starts)
    ]
    scores = _mean_scores(objects)
    for measure in "JF":
        scores[measure]["frames"] = [mean(frame) for frame in values[measure].T]
    if len(objects) > 1:
        scores["objects"] = {str(identity): entry for identity, entry in zip(job.objects, objects, strict=True)}
    if ignored:
        scores["ignored_ids"] = sorted(ignored)
    return scores


def _select(mask: np.ndarray, identity: int) -> np.ndarray:
    return foreground(mask) if identity == ANY_OBJECT else mask == identity


def _object_scores(values: dict[str, np.ndarray]) -> dict[str, Any]:
    scores: dict[str, Any] = {
        measure: statistics(values[measure]) | {"frames": values[measure].tolist()} for measure in "JF"
    }
    return scores | {"T": mean(values["T"])}


def _mean_scores(entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    scores: dict[str, Any] = {
        measure: {key: mean([entry[measure][key] for entry in entries]) for key in ("mean", "recall", "decay")}
        for measure in "JF"
    }
    return scores | {"T": mean([entry["T"] for entry in entries])}


def _summary(sequences: dict[str, dict[str, Any]], marked: set[str] | None) -> dict[str, Any]:
    """Means over the objects of all sequences, T also over those that are steady enough for it."""
    objects = {name: list(entry.get("objects", {"": entry}).values()) for name, entry in sequences.items()}
    everything = [entry for entries in objects.values() for entry in entries]
    source, steady = _steady(list(sequences), marked)
    means = _mean_scores(everything)
    return {
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


def _steady(names: Sequence[str], marked: set[str] | None) -> tuple[str, list[str]]:
    """Which list says over what T runs, and the sequences of it."""
    if marked is not None:
        return f"eval_t of {INFO_FILE}", [name for name in names if name in marked]
    if davis := [name for name in names if name in STEADY_DAVIS16]:
        return "built-in list of DAVIS-16", davis
    return "all", list(names)


def _check_out(out: Path, overwrite: bool) -> None:
    if out.is_dir():
        raise InputError(f"{out}: is a folder; name a JSON file for the scores")
    if out.exists() and not overwrite:
        raise InputError(f"{out}: is there already; choose another file or add --overwrite")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out.parent}: cannot be made ({error.strerror}); choose another place") from error
    if not os.access(out.parent, os.W_OK):
        raise InputError(f"{out.parent}: cannot be written to; choose another place")
    require_free_disk(out.parent)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _plain(value: Any) -> Any:
    """The same without NaN, which JSON does not know: null."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _print(scores: dict[str, Any]) -> None:
    """The table on the terminal, in per cent; warnings go to standard error."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{scores['task']}, per cent", box=SIMPLE)
    table.add_column("sequence", no_wrap=True)
    for heading in ("J mean", "recall", "decay", "F mean", "recall", "decay", "T"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, entry in scores["sequences"].items():
        table.add_row(name, *_cells(entry, entry["T"]))
    table.add_section()
    counts, steady = scores["counts"], scores["T"]
    over = "sequences" if counts["objects"] == counts["sequences"] else f"{counts['objects']} objects"
    table.add_row(f"mean of {over}", *_cells(scores, scores["T_all"]["mean"]), style="bold")
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    if "classes" in scores:
        console.print(f"J   {per_cent(scores['J']['class_mean'])}, mean of {len(scores['classes'])} classes")
    console.print(f"J&F {per_cent(scores['J&F']['mean'])}")
    if not math.isnan(scores["T_all"]["mean"]):
        share = f"{len(steady['sequences'])} of {counts['sequences']} sequences ({steady['list']})"
        console.print(f"T   {per_cent(steady['mean'])} over {share}; lower is steadier")
    for name, entry in scores["sequences"].items():
        if ids := entry.get("ignored_ids"):
            message = f"{name}: ids {ids} are not in the first annotation and count as background"
            print(f"mug: warning: {message}", file=sys.stderr)


def _cells(entry: dict[str, Any], stability: float) -> list[str]:
    values = [entry[measure][key] for measure in "JF" for key in ("mean", "recall", "decay")]
    return [per_cent(value) for value in [*values, stability]]
