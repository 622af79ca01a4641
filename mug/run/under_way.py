"""A line now and then about work that takes so long that nothing else is said."""

from __future__ import annotations

import math
import os
import sys
import threading
import time

from mug.errors import is_quiet, logger

LINE_EVERY_S = 30.0
"""Seconds between the lines of work in progress where standard error is no terminal."""
_APART_S = 5.0
"""Work that begins so many seconds after other work has ended belongs to something else, with a clock of its own."""


class UnderWay:
    """Work in progress, until it is closed. While nothing is said of it for 30 s, a line says what it is at.

    On a terminal, which shows a bar, and with `--quiet` there are no lines. Of work within work, the inner one speaks.

    Args:
        what: What is done first, such as `step 0/100`.
    """

    def __init__(self, what: str) -> None:
        self._what, self._since = what, time.monotonic()
        if not (is_quiet() or sys.stderr.isatty()):
            _watch.add(self)

    def close(self) -> None:
        """The work is done or given up."""
        _watch.remove(self)

    def at(self, what: str) -> None:
        """The work has come to something else."""
        self._what, self._since = what, time.monotonic()

    @staticmethod
    def is_due() -> bool:
        """Whether nothing has been said for long, of this work or of what was done before it, such as other videos."""
        return time.monotonic() - _watch.said >= LINE_EVERY_S

    @staticmethod
    def say(line: str) -> None:
        """Prints a line about the work."""
        _watch.said = time.monotonic()
        logger.info("%s", line)

    def speak_if_due(self) -> float:
        """Prints a line if nothing else was said for long; returns the seconds until it will be due again."""
        now = time.monotonic()
        due = max(self._since, _watch.said) + LINE_EVERY_S
        if due > now:
            return due - now
        self.say(f"{self._what}  (at this for {now - self._since:.0f} s)")
        return LINE_EVERY_S


class _Watch:
    """Looks after all work in progress of this process, in a thread that lasts as long as there is some."""

    def __init__(self) -> None:
        self.said = time.monotonic()
        """When the last line was printed, or the work began."""
        self._ended = -math.inf
        self._works: list[UnderWay] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def add(self, work: UnderWay) -> None:
        with self._changed:
            if not self._works and time.monotonic() - self._ended > _APART_S:
                self.said = time.monotonic()
            self._works.append(work)
            self._changed.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="under way", daemon=True)
                self._thread.start()

    def remove(self, work: UnderWay) -> None:
        with self._changed:
            if work in self._works:
                self._works.remove(work)
                self._ended = time.monotonic()
                self._changed.notify()

    def forget(self) -> None:
        """Begins anew, in a process that was forked: its thread and its work are those of the other process."""
        self.__init__()  # type: ignore[misc]

    def _run(self) -> None:
        with self._changed:
            while self._works:
                self._changed.wait(self._works[-1].speak_if_due())
            self._thread = None


_watch = _Watch()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _watch.forget())
