"""What the command line shows of the logger `mug`, on standard error, a line each."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from mug.errors import InputError, logger

LEVELS = {"--quiet": logging.ERROR, "--verbose": logging.DEBUG}
"""Options of every command, before or after its name, with the least level that they show."""


class ToStandardError(logging.Handler):
    """Information as it is; other messages begin with `mug: error:`, `mug: warning:` or `mug: debug:`."""

    def emit(self, record: logging.LogRecord) -> None:
        """Prints a message."""
        prefix = "" if record.levelno == logging.INFO else f"mug: {record.levelname.lower()}: "
        # a debug message about an error has its traceback
        text = self.format(record).strip() if record.exc_info else record.getMessage()
        print(prefix + text, file=sys.stderr, flush=True)


def show_messages(level: int = logging.INFO) -> None:
    """Sends the logger's messages from a level on to standard error, once."""
    if not any(isinstance(handler, ToStandardError) for handler in logger.handlers):
        logger.addHandler(ToStandardError())
    logger.setLevel(level)
    logger.propagate = False


def split_level(arguments: Sequence[str]) -> tuple[int, list[str]]:
    """The level that the arguments ask for, and the other arguments.

    Raises:
        InputError: they ask for two.
    """
    asked = [word for word in LEVELS if word in arguments]
    if len(asked) > 1:
        raise InputError(f"{' and '.join(asked)}: give one of them")
    return LEVELS[asked[0]] if asked else logging.INFO, [word for word in arguments if word not in LEVELS]


def level_words() -> tuple[str, ...]:
    """The option by which another command shows the messages that this one shows."""
    return tuple(word for word, level in LEVELS.items() if level == logger.level)
