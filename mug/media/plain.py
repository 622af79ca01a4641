"""Reading of plain data, JSON and YAML, that others may have written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mug.errors import InputError

MAX_ENTRIES = 10**6
"""Most entries of a YAML file, with each of its aliases counted as what it stands for."""


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        InputError: the file cannot be read, is no text or no valid JSON, or is nested too deeply.
    """
    try:
        return parse_json(_text(path))
    except ValueError as error:
        raise InputError(f"{path}: is no JSON, it may be truncated; write it anew or remove it") from error


def parse_json(text: str) -> Any:
    """The content of JSON text.

    Raises:
        ValueError: it is no valid JSON, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error


def read_yaml(path: Path) -> Any:
    """The content of a YAML file; aliases may repeat a part of it, but not make it huge or endless.

    Raises:
        InputError: the file cannot be read, is no text or no valid YAML, or is nested too deeply or endlessly.
    """
    import yaml

    try:
        content = yaml.safe_load(_text(path))
        count_entries(content)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        raise InputError(f"{path}: is no valid YAML{where}; mend it") from error
    except RecursionError as error:
        raise InputError(f"{path}: is nested too deeply; mend it") from error
    except (ValueError, OverflowError, TypeError, AttributeError) as error:  # of dates and numbers that are none, too
        raise InputError(f"{path}: is no YAML that can be used ({' '.join(str(error).split())}); mend it") from error
    return content


def count_entries(content: Any) -> int:
    """The number of entries of nested data, in which the same part may be met many times.

    Raises:
        ValueError: there are more than `MAX_ENTRIES`, or a part holds itself.
    """
    known: dict[int, int] = {}
    opened: set[int] = set()

    def count(part: Any) -> int:
        if not isinstance(part, Mapping | list | tuple | set):
            return 1
        if id(part) in opened:
            raise ValueError("a part holds itself")
        if id(part) not in known:
            opened.add(id(part))
            inner = [*part.keys(), *part.values()] if isinstance(part, Mapping) else part
            known[id(part)] = 1 + sum(map(count, inner))
            opened.remove(id(part))
        if known[id(part)] > MAX_ENTRIES:
            raise ValueError(f"has more than {MAX_ENTRIES} entries")
        return known[id(part)]

    return count(content)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({(error.strerror or 'for no reason').lower()})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: cannot be read (no text); give another file, or write it anew") from error
