"""Checks, before a command starts its work, that all optional parts it needs are available."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from dataclasses import is_dataclass
from typing import Any

from mug.media.refine import Refinement, require_crf


def preflight(options: Any) -> None:
    """Checks everything the options of a command need beyond the plain installation.

    This is the dense CRF, if an option selects it, and whatever the method `require()` of an options dataclass checks,
    mostly third-party weights.

    Raises:
        InputError: something is missing or not usable.
    """
    for name, value, kind in _settings(options, ""):
        if kind == Refinement and value == "crf":
            require_crf(f"--{name}")
        elif is_dataclass(value) and hasattr(value, "require"):
            value.require()


def _settings(options: Any, prefix: str) -> Iterator[tuple[str, Any, Any]]:
    """Dotted name, value and type of the options and all nested fields."""
    yield prefix.removesuffix("."), options, type(options)
    for name, kind in typing.get_type_hints(type(options)).items():
        value = getattr(options, name)
        if is_dataclass(value):
            yield from _settings(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value, kind
