"""What a table names as text and is imported once it is asked for."""

from __future__ import annotations

import importlib
from typing import Any


def resolve(target: str) -> Any:
    """What `module:name` names."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)
