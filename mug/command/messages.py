"""What the command line shows of the logger `mug`: everything, on standard error, a line each."""

from __future__ import annotations

import logging
import sys

from mug.errors import logger


class ToStandardError(logging.Handler):
    """Information as it is; warnings and errors begin with `mug: warning:` and `mug: error:`."""

    def emit(self, record: logging.LogRecord) -> None:
        """Prints a message."""
        prefix = f"mug: {record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        print(prefix + record.getMessage(), file=sys.stderr, flush=True)


def show_messages() -> None:
    """Sends the logger to standard error, once."""
    if not any(isinstance(handler, ToStandardError) for handler in logger.handlers):
        logger.addHandler(ToStandardError())
    logger.setLevel(logging.INFO)
    logger.propagate = False
