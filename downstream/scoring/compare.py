"""Several results side by side: per-sequence differences, how sure they are, and where the results differ most."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from downstream.scoring.davis import Scores, objects_of
from downstream.scoring.tables import Row, Table, missing_in_words
from mug.errors import InputError

MEASURES = ("J", "F", "J&F")
RESAMPLES = 10_000
SEED = 0
LEVEL = 0.95
"""Share of the resamples that an interval holds."""
NAMED = 8
"""At most so many frames are named, one of each sequence: its neighbours look alike."""


def compare(results: Mapping[str, Scores]) -> dict[str, Any]:
    """Compares results with the first of them, which were scored on the same frames.

    Args:
        results: What `downstream.scoring.davis.score_results` gives.

    Returns:
        `results`, and in `comparison` the `baseline` and for each other result (`others`) the difference of its J, F
        and J&F to it: over all with an interval (`low`, `high`), of each sequence, and in `frames` the frames where
        their J differs most.
    """
    baseline, *others = results
    first = results[baseline]
    facts = {key: first[key] for key in ("task", "gt", "dataset", "split", "threshold")}
    return facts | {
        "results": dict(results),
        "comparison": {
            "baseline": baseline,
            "resamples": RESAMPLES,
            "seed": SEED,
            "level": LEVEL,
            "others": {name: _differences(first, results[name]) for name in others},
        },
    }


def _differences(first: Scores, second: Scores) -> dict[str, Any]:
    names = list(first["sequences"])
    before, after = (np.array([_sums(scores["sequences"][name]) for name in names]) for scores in (first, second))
    counts = np.array([len(objects_of(first["sequences"][name])) for name in names])
    change = after - before
    low, high = interval(change, counts)
    total = change.sum(axis=0) / counts.sum()
    per_sequence = change / counts[:, None]
    return {
        **{m: {"difference": d, "low": a, "high": b} for m, d, a, b in _named(MEASURES, total, low, high)},
        "sequences": {
            name: dict(zip(MEASURES, row.tolist(), strict=True)) for name, row in zip(names, per_sequence, strict=True)
        },
        "frames": _frames(first, second),
    }


def _named(names: Sequence[str], *columns: np.ndarray) -> list[tuple[Any, ...]]:
    return list(zip(names, *(column.tolist() for column in columns), strict=True))


def _sums(sequence: Scores) -> list[float]:
    """Sum of J, F and J&F over the objects of a sequence."""
    j, f = (sum(entry[measure]["mean"] for entry in objects_of(sequence)) for measure in "JF")
    return [j, f, (j + f) / 2]


def interval(
    differences: np.ndarray, counts: np.ndarray, resamples: int = RESAMPLES, seed: int = SEED, level: float = LEVEL
) -> tuple[np.ndarray, np.ndarray]:
    """Paired bootstrap over sequences (Efron 1979): how far a mean difference could be chance in what was filmed.

    Sequences are drawn with replacement, as many as there are, both results on the same ones; the mean runs over the
    objects of those that were drawn. The interval holds the middle `level` of such means.

    Args:
        differences: (sequences, measures) sums over the objects of a sequence.
        counts: (sequences,) its objects.
        resamples: How often to draw.
        seed: Of the draws.
        level: Share of the resamples within the interval.

    Returns:
        Its lower and upper ends, (measures,) each; NaN where there is one sequence only, which tells nothing.
    """
    sequences = len(counts)
    if sequences < 2:
        return np.full(differences.shape[1], np.nan), np.full(differences.shape[1], np.nan)
    from scipy.stats import bootstrap

    def mean_over_objects(drawn: np.ndarray, axis: int = -1) -> np.ndarray:
        """Sequences (..., N) -> (measures, ...)."""
        return differences.T[:, drawn].sum(axis) / counts[drawn].sum(axis)

    found = bootstrap(
        (np.arange(sequences),),
        mean_over_objects,
        n_resamples=resamples,
        vectorized=True,
        confidence_level=level,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return found.low, found.high


def _frames(first: Scores, second: Scores) -> list[dict[str, Any]]:
    """The frame of each sequence where the mean J of its objects differs most, those first that differ most."""
    found = []
    for name, entry in first["sequences"].items():
        pair = np.array([entry["J"]["frames"], second["sequences"][name]["J"]["frames"]])
        place = int(np.abs(pair[1] - pair[0]).argmax())
        found.append({"sequence": name, "frame": entry["frame_names"][place], "J": pair[:, place].tolist()})
    found.sort(key=lambda entry: -abs(entry["J"][1] - entry["J"][0]))
    return [entry for entry in found if entry["J"][0] != entry["J"][1]][:NAMED]


def comparison_table(content: Mapping[str, Any]) -> Table:
    """A row for each sequence, and for the mean with its interval: J and F of each result and its difference."""
    results, comparison = content["results"], content["comparison"]
    baseline, others = comparison["baseline"], comparison["others"]
    header = ["sequence"]
    for measure in "JF":
        header.append(f"{measure} {baseline}")
        for other in others:
            header += [f"{measure} {other}", f"{measure} {other} - {baseline}"]
    rows: list[Row] = []
    for name in results[baseline]["sequences"]:
        row: list[str | float] = [name]
        for measure in "JF":
            row.append(results[baseline]["sequences"][name][measure]["mean"])
            for other, entry in others.items():
                row += [results[other]["sequences"][name][measure]["mean"], entry["sequences"][name][measure]]
        rows.append(row)
    means: list[str | float] = ["mean"]
    ends: dict[str, list[str | float]] = {"low": [f"{LEVEL:.0%} from"], "high": [f"{LEVEL:.0%} to"]}
    for measure in "JF":
        means.append(results[baseline][measure]["mean"])
        for end in ends.values():
            end.append("")
        for other, entry in others.items():
            means += [results[other][measure]["mean"], entry[measure]["difference"]]
            for key, end in ends.items():
                end += ["", entry[measure][key]]
    lacking = missing_in_words(results[baseline])
    return Table(
        f"{content['task']}, per cent" + (", PARTIAL" if lacking else ""),
        header,
        [rows, [means], list(ends.values())],
        [*in_words(content), *([f"PARTIAL: {lacking}"] if lacking else [])],
        frozenset(number for number, name in enumerate(header) if name.endswith(f" - {baseline}")),
    )


def in_words(content: Mapping[str, Any], most: int = 3) -> list[str]:
    """What the comparison says, a sentence or two for each other result."""
    comparison = content["comparison"]
    baseline = comparison["baseline"]
    sequences = len(content["results"][baseline]["sequences"])
    lines = []
    for other, entry in comparison["others"].items():
        parts = [
            f"{m} {_signed(entry[m]['difference'])} [{_signed(entry[m]['low'])}, {_signed(entry[m]['high'])}]"
            for m in MEASURES
        ]
        lines.append(f"{other} - {baseline}: {', '.join(parts)}")
        ranked = sorted(entry["sequences"].items(), key=lambda item: -abs(item[1]["J"]))[:most]
        where = ", ".join(f"{name} (J {_signed(change['J'])})" for name, change in ranked)
        frames = ", ".join(
            f"{f['sequence']}/{f['frame']} (J {100 * f['J'][0]:.1f} and {100 * f['J'][1]:.1f})"
            for f in entry["frames"][:most]
        )
        lines.append(f"They differ most in {where}" + (f"; in the frames {frames}" if frames else "; in no frame"))
    how = f"{comparison['resamples']} paired bootstrap resamples of {sequences} sequences, seed {comparison['seed']}"
    return [*lines, f"Intervals hold {comparison['level']:.0%} of {how}."]


def _signed(fraction: float | None) -> str:
    return "-" if fraction is None or fraction != fraction else f"{100 * fraction:+.1f}"


def names_of(folders: Sequence[Path]) -> list[str]:
    """What to call results: the names of their folders, with as many of the folders above as tell them apart.

    Raises:
        InputError: a folder is given twice.
    """
    places = [folder.resolve() for folder in folders]
    if twice := [folder for folder, place in zip(folders, places, strict=True) if places.count(place) > 1]:
        raise InputError(f"--pred: {twice[0]} is given twice; name results that differ")
    paths = [Path(os.path.abspath(folder)) for folder in folders]
    depth = 1
    while len({path.parts[-depth:] for path in paths}) < len(paths):
        depth += 1
    return ["/".join(path.parts[-depth:]) for path in paths]
