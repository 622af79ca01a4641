"""`mug evaluate --task unsupervised`: the DAVIS-17 measure for objects segmented without a given mask.

The method is free to choose object ids. Every proposal (an id of the results, at most 20 per video) is compared with
every annotated object over the whole video; the Hungarian method assigns proposals to objects so that the sum of the
mean (J + F) / 2 is maximal. Objects are those of the first annotation. All frames are scored, without void pixels. An
object without a proposal is scored with an empty mask: 0 wherever it is visible. Surplus proposals are not penalised
(Caelles et al., The 2019 DAVIS Challenge on VOS).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from downstream.data.dataset import Annotation, Dataset, Kind
from downstream.data.davis import Davis17Unsupervised
from downstream.data.kinds import open_dataset
from downstream.metrics.matching import assign, pairwise
from downstream.metrics.sequence import statistics
from downstream.scoring.meeting import Meeting, score_jobs
from downstream.scoring.result_masks import check_folders, every_pair, mean, read_pair
from downstream.scoring.tables import Row, Table
from downstream.scoring.workers import score_each
from mug.errors import InputError
from mug.media.masks import VOID, read_mask

MOST_PROPOSALS = 20
KEYS = ("mean", "recall", "decay")


def score_unsupervised(
    gt: Path,
    pred: Path,
    split: str | None = None,
    threshold: float | None = None,
    kind: Kind | None = None,
    meeting: Meeting | None = None,
) -> dict[str, Any]:
    """Scores a folder of results by the unsupervised task of DAVIS-17.

    Args:
        gt: Dataset root; for DAVIS-17, `Annotations_unsupervised` is read if present, else `Annotations`.
        pred: Folder of `<sequence>/<frame>.png`, one for each annotated frame, with at most 20 ids per sequence.
        split: Split of the dataset; None takes all sequences.
        threshold: Must be None: a soft map has no ids.
        kind: Kind of dataset; None recognises it by its layout.
        meeting: Shares the sequences with other shards.

    Returns:
        `J`, `F` and `J&F`, means over the objects of all sequences; `sequences` with the same for the objects of each,
        values per frame, and `objects`: the scores of each and its assigned `proposal`, None if there was none left. In
        fractions.

    Raises:
        InputError: a result is missing, of another size, not a mask, or has more than 20 ids.
    """
    if threshold is not None:
        raise InputError("--threshold: a soft map has no object ids; give masks for --task unsupervised")
    dataset = annotated(gt, kind)
    names = list(dataset.scored(split, given=False))
    check_folders(dataset, names, pred)
    pairs = {name: every_pair(dataset, name, pred, "--task unsupervised") for name in names}
    sequences = score_jobs(pairs, partial(score_each, score_sequence, workers=1), meeting)
    everything = [entry for scores in sequences.values() for entry in scores["objects"].values()]
    frames = sum(len(files) for files in pairs.values())
    return {
        "task": "unsupervised",
        "dataset": dataset.kind,
        "gt": str(gt),
        "pred": str(pred),
        "split": split,
        "counts": {"sequences": len(names), "objects": len(everything), "frames": frames},
        **_means(everything),
        "sequences": sequences,
    }


def annotated(root: Path, kind: Kind | None = None) -> Dataset:
    """Opens the dataset, for DAVIS-17 with the annotations of this task if present.

    Raises:
        InputError: see `open_dataset`.
    """
    return open_dataset(root, kind or ("davis17-unsupervised" if (root / Davis17Unsupervised.masks).is_dir() else None))


def score_sequence(pairs: list[tuple[Annotation, Path]]) -> dict[str, Any]:
    """Scores of a sequence, from its annotations and result files.

    Raises:
        InputError: a file is unreadable, differs in size from its annotation, or is not a mask.
    """
    objects = _objects(pairs[0][0])
    proposals = _proposals([path for _, path in pairs])
    rows = max(len(proposals), len(objects))  # missing proposals are empty masks
    values = np.empty((2, rows, len(objects), len(pairs)))
    for frame, (truth_path, path) in enumerate(pairs):
        truth, prediction, _ = read_pair(truth_path, path, None)
        void = truth == VOID
        counted = _numbered(prediction, proposals), _numbered(truth, objects)
        values[:, :, :, frame] = pairwise(*counted, rows, len(objects), void if void.any() else None)
    chosen = assign(values.mean((0, 3)))
    entries = {}
    for column, (identity, row) in enumerate(zip(objects, chosen, strict=True)):
        j, f = values[:, row, column]
        entries[str(identity)] = {
            "proposal": proposals[row] if row < len(proposals) else None,
            "J": statistics(j) | {"frames": j.tolist()},
            "F": statistics(f) | {"frames": f.tolist()},
        }
    scores = _means(list(entries.values()))
    for at, measure in enumerate("JF"):
        scores[measure]["frames"] = values[at, chosen, np.arange(len(objects))].mean(0).tolist()
    return scores | {"proposals": len(proposals), "objects": entries}


def _objects(first: Annotation) -> list[int]:
    ids = _ids(first.read())
    if not ids:
        raise InputError(f"{first.path}: the first annotation has no object; --task unsupervised scores those it has")
    return sorted(ids)


def _proposals(paths: list[Path]) -> list[int]:
    found: set[int] = set()
    for path in paths:
        found |= _ids(read_mask(path))
        if len(found) > MOST_PROPOSALS:
            raise InputError(f"{path.parent}: has more than {MOST_PROPOSALS} ids; keep the surest objects, one id each")
    return sorted(found)


def _ids(mask: np.ndarray) -> set[int]:
    return set(np.flatnonzero(np.bincount(mask.ravel())).tolist()) - {0, VOID}


def _numbered(mask: np.ndarray, ids: list[int]) -> np.ndarray:
    """(H, W) uint8: the n-th of `ids` becomes n, from 1; all others 0."""
    table = np.zeros(256, np.uint8)
    table[ids] = np.arange(1, len(ids) + 1)
    return table[mask]


def _means(entries: list[dict[str, Any]]) -> dict[str, Any]:
    scores: dict[str, Any] = {
        measure: {key: mean([entry[measure][key] for entry in entries]) for key in KEYS} for measure in "JF"
    }
    return scores | {"J&F": {"mean": (scores["J"]["mean"] + scores["F"]["mean"]) / 2}}


def unsupervised_table(scores: dict[str, Any]) -> Table:
    """The table for scores of `score_unsupervised`."""
    header = ("sequence", "J&F", *(f"{measure} {key}" for measure in "JF" for key in KEYS))
    rows: list[Row] = [(name, *_cells(entry)) for name, entry in scores["sequences"].items()]
    means: list[Row] = [(f"mean of {scores['counts']['objects']} objects", *_cells(scores))]
    return Table("unsupervised, per cent", header, [rows, means])


def _cells(entry: dict[str, Any]) -> list[float]:
    return [entry["J&F"]["mean"], *(entry[measure][key] for measure in "JF" for key in KEYS)]
