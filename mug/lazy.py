"""Lazy imports of objects that a table names as text."""

from __future__ import annotations

import importlib
from typing import Any


def resolve(target: str) -> Any:
    """Imports the object named by `module:name`."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)
