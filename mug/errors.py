"""Errors that the command line reports in one line instead of a traceback, and what is said on the way.

Messages go through the logger `mug`: the command line shows them on standard error, an application decides for itself.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable

logger = logging.getLogger("mug")


class InputError(Exception):
    """The user's input is not usable; the message is one line that names the file and the remedy."""


class RunError(Exception):
    """A run cannot continue although its input was usable (a NaN loss, for example); the message is one line."""


class Stopped(KeyboardInterrupt):
    """A run ended between two steps as a signal asked for; its state is saved.

    Attributes:
        status: The exit status of this process.
    """

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def is_quiet() -> bool:
    """Whether messages below warnings have been turned off; progress is then not shown either."""
    return logger.level > logging.INFO


_warned: set[Hashable] = set()


def warn(message: str, about: Hashable = None) -> None:
    """Warns in one line: the work continues, but not as the user may expect.

    Args:
        message: Names the file and how it is treated.
        about: Subject of which only the first warning is given, such as a folder of many files. Default: the message.
    """
    key = message if about is None else about
    if key not in _warned:
        _warned.add(key)
        logger.warning(" ".join(message.split()))
