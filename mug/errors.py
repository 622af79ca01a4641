"""Errors that the command line reports in one line instead of a traceback, and warnings."""

from __future__ import annotations

import sys
from collections.abc import Hashable


class InputError(Exception):
    """The user's input is not usable; the message is one line that names the file and the remedy."""


class RunError(Exception):
    """A run cannot continue although its input was usable (a NaN loss, for example); the message is one line."""


_warned: set[Hashable] = set()


def warn(message: str, about: Hashable = None) -> None:
    """Prints a one-line warning to standard error: the work continues, but not as the user may expect.

    Args:
        message: Names the file and how it is treated.
        about: Subject of which only the first warning is printed, such as a folder of many files. Default: the message.
    """
    key = message if about is None else about
    if key not in _warned:
        _warned.add(key)
        print(f"mug: warning: {' '.join(message.split())}", file=sys.stderr, flush=True)
