"""What the command line answers with one line instead of a traceback."""

from __future__ import annotations


class InputError(Exception):
    """What the user gave cannot be used; the message is one line that names the file and the remedy."""


class RunError(Exception):
    """A run cannot go on though its input was usable (a loss that is no number, say); the message is one line."""
