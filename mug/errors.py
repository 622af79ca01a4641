"""The one error that is the user's to mend."""

from __future__ import annotations


class InputError(Exception):
    """What the user gave cannot be used; the message is one line that names the file and the remedy."""
