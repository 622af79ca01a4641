"""What the command line answers with one line instead of a traceback, or beside its work."""

from __future__ import annotations

import sys
from collections.abc import Hashable


class InputError(Exception):
    """What the user gave cannot be used; the message is one line that names the file and the remedy."""


class RunError(Exception):
    """A run cannot go on though its input was usable (a loss that is no number, say); the message is one line."""


_warned: set[Hashable] = set()


def warn(message: str, about: Hashable = None) -> None:
    """Says on standard error, in one line, that the work goes on with less than the user may think.

    Args:
        message: Names the file and what is made of it.
        about: What is warned of once alone, such as a folder of many files; the message itself when not given.
    """
    key = message if about is None else about
    if key not in _warned:
        _warned.add(key)
        print(f"mug: warning: {' '.join(message.split())}", file=sys.stderr, flush=True)
