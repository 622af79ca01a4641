"""Settings that results were made with, as plain data that can be stored beside them and compared."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from mug import __version__
from mug.media.address import Address
from mug.media.listing import FILE_SUFFIXES


def to_plain(options: Any) -> Any:
    """Converts a dataclass of options to plain data: dictionaries, lists, numbers, text."""
    if dataclasses.is_dataclass(options) and not isinstance(options, type):
        return {field.name: to_plain(getattr(options, field.name)) for field in dataclasses.fields(options)}
    if isinstance(options, Mapping):
        return {str(key): to_plain(value) for key, value in options.items()}
    if isinstance(options, list | tuple):
        return [to_plain(value) for value in options]
    return str(options) if isinstance(options, Path | Address) else options


def without_paths(options: Any) -> Any:
    """A dataclass of options as dictionaries without those that hold a path, or a list of paths, at any depth."""
    if dataclasses.is_dataclass(options) and not isinstance(options, type):
        kept = {field.name: without_paths(getattr(options, field.name)) for field in dataclasses.fields(options)}
        return {name: value for name, value in kept.items() if not _holds_path(value)}
    return options


def _holds_path(value: Any) -> bool:
    return any(map(_holds_path, value)) if isinstance(value, list | tuple) else isinstance(value, Path)


def digest(content: Any, length: int = 12) -> str:
    """The first hexadecimal digits of a digest of plain data."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:length]


def settings_of(options: Any, free: Collection[str]) -> dict[str, Any]:
    """All that determines the results of a command, as plain data.

    These are the options, and the version of mug. A file counts by its name and content, so that other weights in the
    same place are told apart; a folder or a video by its absolute path.

    Args:
        options: A dataclass of options.
        free: Options of no effect on the results.
    """
    fields = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
    kept = {name: _identified(value) for name, value in fields.items() if name not in free}
    return {"version": __version__, **to_plain(kept)}


def _identified(value: Any) -> Any:
    """Plain data in which paths identify what they lead to."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _identified(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, list | tuple):
        return [_identified(entry) for entry in value]
    if not isinstance(value, Path):
        return value
    if value.suffix.lower() in FILE_SUFFIXES or not value.is_file():
        return os.path.abspath(value)
    with value.open("rb") as file:
        return f"{value.name} ({hashlib.file_digest(file, 'sha256').hexdigest()[:16]})"


def first_difference(
    old: Mapping[str, Any], new: Mapping[str, Any], free: tuple[str, ...] = (), prefix: str = ""
) -> tuple[str, Any, Any] | None:
    """The first key (dotted) whose value differs, with both values; keys in `free` may differ."""
    for key in dict.fromkeys((*old, *new)):
        name = f"{prefix}{key}"
        if name in free:
            continue
        a, b = old.get(key), new.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found = first_difference(a, b, free, f"{name}.")
            if found:
                return found
        elif a != b:
            return name, a, b
    return None
