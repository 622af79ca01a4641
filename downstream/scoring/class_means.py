"""Per-class scores of datasets such as YouTube-Objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from downstream.scoring.result_masks import mean


def add_class_means(scores: dict[str, Any], classes: Mapping[str, str]) -> None:
    """Adds the mean J of each class over its sequences (`classes`), and the mean over classes (`class_mean` of `J`).

    Args:
        scores: Scores with `sequences`, as of `mug evaluate`.
        classes: The class of each sequence; if empty, nothing is added.
    """
    members: dict[str, list[float]] = {}
    for name, entry in scores["sequences"].items():
        if name in classes:
            members.setdefault(classes[name], []).append(entry["J"]["mean"])
    if members:
        means = {name: mean(values) for name, values in members.items()}
        scores["J"]["class_mean"] = mean(list(means.values()))
        scores["classes"] = {name: {"J": {"mean": value}} for name, value in means.items()}
