"""Comparison of results: per-sequence differences, confidence intervals, and the frames that differ most."""

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
"""Confidence level: share of the resamples within an interval."""
NAMED = 8
"""Maximum number of frames named; one per sequence, because neighbouring frames look alike."""


def compare(results: Mapping[str, Scores]) -> dict[str, Any]:
    """Compares results with the first; all are scored on the same frames.

    Args:
        results: Result of `downstream.scoring.davis.score_results`.

    Returns:
        `results`, and in `comparison` the `baseline` and, for each other result (`others`), its differences of J, F and
        J&F to the baseline: overall with an interval (`low`, `high`), per sequence, and in `frames` the frames where J
        differs most.
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
    """Paired bootstrap over sequences (Efron 1979): confidence interval of a mean difference.

    Each resample draws as many sequences as there are, with replacement and the same ones for both results; the mean is
    over the objects of the drawn sequences. The interval contains the middle `level` of these means.

    Args:
        differences: (sequences, measures) sums over the objects of a sequence.
        counts: (sequences,) number of objects.
        resamples: Number of resamples.
        seed: Random seed.
        level: Share of the resamples within the interval.

    Returns:
        Lower and upper ends of the interval, (measures,) each; NaN for fewer than two sequences.
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
    """The frame of each sequence where the mean J of its objects differs most, largest difference first."""
    found = []
    for name, entry in first["sequences"].items():
        pair = np.array([entry["J"]["frames"], second["sequences"][name]["J"]["frames"]])
        place = int(np.abs(pair[1] - pair[0]).argmax())
        found.append({"sequence": name, "frame": entry["frame_names"][place], "J": pair[:, place].tolist()})
    found.sort(key=lambda entry: -abs(entry["J"][1] - entry["J"][0]))
    return [entry for entry in found if entry["J"][0] != entry["J"][1]][:NAMED]


def comparison_table(content: Mapping[str, Any]) -> Table:
    """J and F of each result and their differences: one row per sequence, and rows for the mean with its interval."""
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
    """The comparison in words, a sentence or two per result."""
    comparison = content["comparison"]
    baseline = comparison["baseline"]
    sequences = len(content["results"][baseline]["sequences"])
    lines = []
    for other, entry in comparison["others"].items():
        parts = [
            f"{m} {signed(entry[m]['difference'])} [{signed(entry[m]['low'])}, {signed(entry[m]['high'])}]"
            for m in MEASURES
        ]
        lines.append(f"{other} - {baseline}: {', '.join(parts)}")
        ranked = sorted(entry["sequences"].items(), key=lambda item: -abs(item[1]["J"]))[:most]
        where = ", ".join(f"{name} (J {signed(change['J'])})" for name, change in ranked)
        frames = ", ".join(
            f"{f['sequence']}/{f['frame']} (J {100 * f['J'][0]:.1f} and {100 * f['J'][1]:.1f})"
            for f in entry["frames"][:most]
        )
        lines.append(f"They differ most in {where}" + (f"; in the frames {frames}" if frames else "; in no frame"))
    how = f"{comparison['resamples']} paired bootstrap resamples of {sequences} sequences, seed {comparison['seed']}"
    return [*lines, f"Intervals hold {comparison['level']:.0%} of {how}."]


def signed(fraction: float | None) -> str:
    """A fraction in per cent with its sign; a dash if it was not measured."""
    return "-" if fraction is None or fraction != fraction else f"{100 * fraction:+.1f}"


def names_of(folders: Sequence[Path]) -> list[str]:
    """Unique names for results: their folder names, with as many parent folders as needed.

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
