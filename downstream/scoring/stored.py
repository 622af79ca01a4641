"""Scores that were stored by `mug evaluate --out`, and may have been changed since."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mug.errors import InputError

_TEXTS = ("task", "gt", "pred")
_TEXTS_OR_NONE = ("protocol", "dataset", "split")
_LISTS = ("frames", "sequences")
"""Entries of J, F and T that are lists; `list` is a name, and all others are numbers."""


def check_scores(path: Path, content: Mapping[str, Any]) -> None:
    """Checks that the entries of a score file that pages show are of the right type.

    Args:
        path: The file.
        content: What it holds.

    Raises:
        InputError: an entry is not; the message names it.
    """
    for place in _faults(content):
        raise InputError(f"{path}: its entry {place} will not do; write the file anew with `mug evaluate --out`")


def _faults(content: Mapping[str, Any]) -> Iterable[str]:
    yield from (name for name in _TEXTS if not isinstance(content.get(name), str))
    yield from (name for name in _TEXTS_OR_NONE if not isinstance(content.get(name), str | None))
    if not _is_number(content.get("threshold")):
        yield "threshold"
    sequences = content.get("sequences")
    if not isinstance(sequences, dict):
        yield "sequences"
        return
    for name, entry in {"": content, **sequences}.items():
        prefix = f"sequences.{name}." if name else ""
        if not isinstance(entry, dict):
            yield prefix.rstrip(".")
            continue
        for measure in "JFT":
            value = entry.get(measure, {})
            if not (isinstance(value, dict) or (measure == "T" and name)):  # T of a sequence is a number
                yield prefix + measure
            for key, part in value.items() if isinstance(value, dict) else [("", value)]:
                if not (key == "list" or (_is_list(part) if key in _LISTS else _is_number(part))):
                    yield f"{prefix}{measure}.{key}".rstrip(".")
        names = entry.get("frame_names", [])
        if not (isinstance(names, list) and all(isinstance(frame, str) for frame in names)):
            yield f"{prefix}frame_names"


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and all(_is_number(entry) or isinstance(entry, str) for entry in value)
