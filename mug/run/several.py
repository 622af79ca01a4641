"""Work on several videos, in which an unreadable one does not stop the others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mug.errors import InputError, logger


class Several:
    """Reports failures as they occur and raises an error at the end if there were any.

    Args:
        count: Number of videos; if it is one, its error is raised unchanged.

    Example:
        >>> several = Several(2)
        >>> for name in ("good", "bad"):
        ...     with several.attempt(name):
        ...         if name == "bad":
        ...             raise InputError("bad: is truncated")
        >>> several.finish(Path("out"))
        Traceback (most recent call last):
        mug.errors.InputError: 1 of 2 videos could not be done: bad; the others are done
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._failed: list[str] = []

    @contextmanager
    def attempt(self, name: str) -> Iterator[None]:
        """Context for the work on one video; an `InputError` is printed to standard error in one line.

        Raises:
            InputError: that of the block, if there is only one video.
        """
        try:
            yield
        except InputError as error:
            if self._count == 1:
                raise
            logger.warning("%s: left out: %s", name, " ".join(str(error).split()))
            self._failed.append(name)

    def finish(self, out: Path) -> None:
        """Says where the results are.

        Args:
            out: Their folder.

        Raises:
            InputError: some videos failed.
        """
        if not self._failed:
            if self._count:  # a shard may have none
                logger.info("%s: %d video%s done", out, self._count, "" if self._count == 1 else "s")
            return
        names = ", ".join(self._failed[:5]) + (", ..." if len(self._failed) > 5 else "")
        others = "; the others are done" if len(self._failed) < self._count else ""
        raise InputError(f"{len(self._failed)} of {self._count} videos could not be done: {names}{others}")
