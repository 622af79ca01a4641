"""Scores of a dataset that is reported class by class, such as YouTube-Objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from downstream.scoring.result_masks import mean


def add_class_means(scores: dict[str, Any], classes: Mapping[str, str]) -> None:
    """Adds the mean J of each class over its sequences (`classes`), and over the classes (`class_mean` of `J`).

    Args:
        scores: As `mug evaluate` gives them, with `sequences`.
        classes: The class of each sequence; where it is empty nothing is added.
    """
    members: dict[str, list[float]] = {}
    for name, entry in scores["sequences"].items():
        if name in classes:
            members.setdefault(classes[name], []).append(entry["J"]["mean"])
    if members:
        means = {name: mean(values) for name, values in members.items()}
        scores["J"]["class_mean"] = mean(list(means.values()))
        scores["classes"] = {name: {"J": {"mean": value}} for name, value in means.items()}
