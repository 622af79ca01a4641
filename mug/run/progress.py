"""Progress of long work: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import closing
from datetime import timedelta
from typing import TypeVar

from mug.errors import is_quiet
from mug.run.under_way import UnderWay

T = TypeVar("T")


class Pace:
    """Speed and time left, from all items but the first, which includes loading and warming up.

    Args:
        total: Number of items; None if unknown.
    """

    def __init__(self, total: float | None) -> None:
        self._total = total
        self._start: tuple[float, float] | None = None

    def rate(self, done: float) -> float | None:
        """Items per second, now that `done` are done; None until the second call."""
        if self._start is None:
            self._start = (time.monotonic(), done)
            return None
        began, first = self._start
        return (done - first) / max(time.monotonic() - began, 1e-9)

    def left(self, done: float, rate: float | None) -> str:
        """The time left in words; empty if it cannot be told."""
        if not rate or self._total is None:
            return ""
        return f"{timedelta(seconds=round((self._total - done) / rate))} left"


def track(iterable: Iterable[T], description: str, total: float | None = None) -> Iterator[T]:
    """Yields the items of `iterable` and shows progress and remaining time, on standard error.

    On a terminal this is a bar; elsewhere a line as the first item ends that does so 30 s after the last line, be it of
    this work or of what went before, and a line every 30 s that a single item takes. So short work is silent.

    Args:
        iterable: The items.
        description: The work in a word or two.
        total: Number of items; default: the length of `iterable`, if it has one.
    """
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    if is_quiet() or total == 0:
        yield from iterable
    elif sys.stderr.isatty():
        yield from _with_bar(iterable, description, total)
    else:
        yield from _with_lines(iterable, description, total)


def _with_bar(iterable: Iterable[T], description: str, total: float | None) -> Iterator[T]:
    # importing rich takes a tenth of a second, which scripts and workers without a bar save
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    shown = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    columns = (TextColumn("{task.description}"), *shown)
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield from progress.track(iterable, total=total, description=description)


def _with_lines(iterable: Iterable[T], description: str, total: float | None) -> Iterator[T]:
    def count(done: int) -> str:
        return f"{description}: {done}" if total is None else f"{description}: {done}/{total:g}"

    pace = Pace(total)
    with closing(UnderWay(count(0))) as work:
        for done, item in enumerate(iterable):  # as an item comes, and its maker is through, those before it are done
            if done:
                rate = pace.rate(done)
                if work.is_due():
                    work.say("  ".join(filter(None, (count(done), pace.left(done, rate)))))
            yield item
            work.at(count(done + 1))
