"""Progress bars on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

T = TypeVar("T")


def track(iterable: Iterable[T], description: str, total: float | None = None) -> Iterator[T]:
    """Yields the items of `iterable` and shows progress and remaining time.

    The bar goes to standard error, and only if that is a terminal, so that pipes and logs stay clean.

    Args:
        iterable: The items.
        description: The work in a word or two.
        total: Number of items; default: the length of `iterable`, if it has one.
    """
    if not sys.stderr.isatty():
        yield from iterable
        return
    # importing rich takes a tenth of a second, which scripts and workers without a bar save
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield from progress.track(iterable, total=total, description=description)
