"""Every optional part that a command will need is asked for before its work begins."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from dataclasses import is_dataclass
from typing import Any

from mug.media.refine import Refinement, require_crf


def preflight(options: Any) -> None:
    """Asks for what the options of any command need beyond the plain installation.

    That is the dense CRF, wherever an option chooses it, and what a dataclass of options asks for itself: weights of
    others, for the most part, in a method `require` without arguments.

    Raises:
        InputError: something is missing or cannot be used.
    """
    for name, value, kind in _settings(options, ""):
        if kind == Refinement and value == "crf":
            require_crf(f"--{name}")
        elif is_dataclass(value) and hasattr(value, "require"):
            value.require()


def _settings(options: Any, prefix: str) -> Iterator[tuple[str, Any, Any]]:
    """Dotted name, value and type of the options and of everything in them."""
    yield prefix.removesuffix("."), options, type(options)
    for name, kind in typing.get_type_hints(type(options)).items():
        value = getattr(options, name)
        if is_dataclass(value):
            yield from _settings(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value, kind
