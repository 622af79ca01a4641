"""`mug evaluate`: scores result masks against annotations and compares results."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from downstream.data.dataset import Kind
from downstream.scoring.compare import compare, comparison_table, names_of
from downstream.scoring.davis import score_results
from downstream.scoring.groups import groups_table, score_groups
from downstream.scoring.meeting import Meeting, Unfinished
from downstream.scoring.report_protocol import report_table, score_by_report
from downstream.scoring.tables import FORMATS, Table, davis_table, missing_in_words, show
from downstream.scoring.unsupervised import score_unsupervised, unsupervised_table
from downstream.scoring.workers import cores
from mug.errors import InputError, logger, warn
from mug.media.files import atomic_path, prepare_file
from mug.run.settings import settings_of
from mug.run.shard import shard_of

WEIGHTS_TASKS = ("retrieval", "probe")
"""Tasks that measure weights instead of results."""

STDOUT = Path("-")
"""In place of an output file."""


@dataclass
class EvaluateOptions:
    """Options of `mug evaluate`."""

    task: Literal["zero-shot", "one-shot", "unsupervised", "cosegmentation", "retrieval", "probe"]
    """`zero-shot`: all ids form one foreground (DAVIS-16). `one-shot`: each given object separately (DAVIS-16,
    DAVIS-17, YouTube-VOS). `unsupervised`: each object with its best-matching proposal over the video, of at most 20
    (DAVIS-17). `cosegmentation`: J of the shared object of each image class. Two tasks measure MuG's weights instead of
    results: `retrieval`, whether clips retrieve clips of their own video; `probe`, accuracy of a linear foreground
    classifier on frozen features."""
    gt: Path
    """Dataset root: DAVIS, YouTube-VOS, YouTube-Objects, FBMS-59, SegTrack v2 or your own; for co-segmentation, folders
    <class>/<image>.jpg with <class>/GroundTruth/<image>.png, or PASCAL VOC 2012; for retrieval any videos."""
    pred: list[Path] | Path | None = None
    """Folder with the results: <sequence>/<frame>.png, or <class>/<image>.png. Several are compared with the first."""
    out: list[Path] | Path | None = None
    """Output files: .json for all scores, down to each frame; .csv, .md or .tex for the table; - for JSON on standard
    output, in place of the table."""
    weights: Path | None = None
    """Weights of MuG for `retrieval` and `probe`; by default the packaged weights."""
    threshold: float | None = None
    """Reads the results as soft maps, with foreground above this share of 255 (zero-shot)."""
    split: str | None = None
    """Split of the dataset (`val`, `2017/val`); for PASCAL VOC `train`, `val` or `test`."""
    dataset: Kind | None = None
    """Kind of dataset; by default recognised by its layout."""
    protocol: Literal["davis", "report"] = "davis"
    """`report`: the protocol of the AGNN report (Sec. 4.4): every frame, and consecutive-frame IoU (`T_iou`) for T."""
    only_existing: bool = False
    """Score the results that exist and name the missing sequences and frames (zero-shot, one-shot)."""
    stability: bool = True
    """Measure T as well, which takes most of the time."""
    workers: int | None = None
    """Number of scoring processes; by default one per core."""
    shard: str | None = None
    """Part of the sequences to score, i/n (`2/8`); the n parts may run at once, and the last one writes `out`. Default:
    the rank given by torchrun or SLURM, or all."""
    overwrite: bool = False
    """Replace `out` if it exists."""

    def unused(self) -> Mapping[str, str]:
        """See `mug.command.options.parse`."""
        if self.task in WEIGHTS_TASKS:
            names = ("threshold", "protocol", "only_existing", "stability", "workers", "shard")
            return dict.fromkeys(names, f"scores results, and --task {self.task} measures weights")
        if self.task in ("zero-shot", "one-shot") and self.protocol == "davis":
            return {}
        unused = dict.fromkeys(("stability", "workers"), "is for --task zero-shot and one-shot of --protocol davis")
        return unused | ({"dataset": "is for videos"} if self.task == "cosegmentation" else {})


def evaluate(options: EvaluateOptions) -> None:
    """Scores result masks (J, F and T with mean, recall and decay, per dataset, sequence and frame), or weights.

    Several results are compared with the first.
    """
    outs, preds = _paths(options.out), _paths(options.pred)
    meeting = _meeting(options, [out for out in outs if out != STDOUT])
    for out in outs:
        if out != STDOUT:
            _check_out(out, options.overwrite or meeting is not None)
    try:
        if options.task in WEIGHTS_TASKS:
            scores, table = _measure_weights(options, preds)
        else:
            scores, table = _score_results(options, preds, meeting)
    except Unfinished as unfinished:
        logger.info(str(unfinished))
        return
    if STDOUT in outs:
        print(_written(scores, table, ".json"), end="")
    else:
        show(table)
    for out in outs:
        if out == STDOUT:
            continue
        with atomic_path(out) as temporary:
            temporary.write_text(_written(scores, table, out.suffix))
    if meeting is not None:
        meeting.end()


def _meeting(options: EvaluateOptions, outs: list[Path]) -> Meeting | None:
    """Where this shard meets the others; None if this process scores everything."""
    shard = shard_of(options.shard)
    if shard.count == 1 or options.task in WEIGHTS_TASKS:
        return None
    if not outs:
        raise InputError(f"--out: {shard.count} shards ({shard.source}) meet beside their output; name a file for it")
    return Meeting(shard, outs, options.overwrite, settings_of(options, ("out", "overwrite", "workers", "shard")))


def _score_results(
    options: EvaluateOptions, preds: list[Path], meeting: Meeting | None
) -> tuple[dict[str, Any], Table]:
    if not preds:
        raise InputError(f"--pred: --task {options.task} scores results; give their folder")
    if options.weights is not None:
        raise InputError(f"--weights: --task {options.task} scores results, not weights; leave it out")
    davis = options.protocol == "davis" and options.task in ("zero-shot", "one-shot")
    if not davis and (len(preds) > 1 or options.only_existing):
        name = "--only-existing" if options.only_existing else "--pred: several results"
        raise InputError(f"{name}: is for --task zero-shot and one-shot of --protocol davis; score each result whole")
    if options.protocol == "report":
        scores = score_by_report(
            options.gt, preds[0], options.task, options.threshold, options.split, options.dataset, meeting
        )
        return scores, report_table(scores)
    if options.task == "unsupervised":
        scores = score_unsupervised(options.gt, preds[0], options.split, options.threshold, options.dataset, meeting)
        return scores, unsupervised_table(scores)
    if options.task == "cosegmentation":
        scores = score_groups(options.gt, preds[0], options.split, options.threshold, meeting)
        return scores, groups_table(scores)
    return _score_davis(options, preds, meeting)


def _score_davis(options: EvaluateOptions, preds: list[Path], meeting: Meeting | None) -> tuple[dict[str, Any], Table]:
    results = score_results(
        options.gt,
        dict(zip(names_of(preds), preds, strict=True)),
        options.task,  # type: ignore[arg-type]  # the others have gone elsewhere
        threshold=options.threshold,
        split=options.split,
        stability=options.stability,
        workers=cores() if options.workers is None else options.workers,
        only_existing=options.only_existing,
        kind=options.dataset,
        meeting=meeting,
    )
    for scores in results.values():
        _warn(scores)
    if len(results) == 1:
        (scores,) = results.values()
        return scores, davis_table(scores)
    content = compare(results)
    return content, comparison_table(content)


def _measure_weights(options: EvaluateOptions, preds: list[Path]) -> tuple[dict[str, Any], Table]:
    from downstream.scoring.weights import measure_probe, measure_retrieval

    if preds:
        raise InputError(f"--pred: --task {options.task} measures weights, not results; leave it out")
    measure = measure_retrieval if options.task == "retrieval" else measure_probe
    return measure(options.gt, options.weights, options.dataset, options.split)


def _warn(scores: dict[str, Any]) -> None:
    """Prints warnings about the scores on standard error."""
    messages = [
        f"{name}: ids {entry['ignored_ids']} are not in the first annotation and count as background"
        for name, entry in scores["sequences"].items()
        if "ignored_ids" in entry
    ]
    if lacking := missing_in_words(scores):
        messages.append(f"{scores['pred']}: these are scores of a part: {lacking}")
    for message in messages:
        warn(message)


def _paths(given: list[Path] | Path | None) -> list[Path]:
    if isinstance(given, list):
        if not given:
            raise InputError("an empty list was given where a path is needed; name at least one")
        return given
    return [] if given is None else [given]


def _check_out(out: Path, overwrite: bool) -> None:
    if out.is_dir():
        raise InputError(f"{out}: is a folder; name a JSON file for the scores")
    if out.suffix not in (".json", *FORMATS):
        raise InputError(f"{out}: scores are written as .json, {', '.join(FORMATS)}; name a file that ends so")
    prepare_file(out, overwrite)


def _written(scores: dict[str, Any], table: Table, suffix: str) -> str:
    if suffix in FORMATS:
        return FORMATS[suffix](table)
    return json.dumps(_plain(scores), indent=1, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    """The value with NaN replaced by None, since JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and math.isnan(value) else value
