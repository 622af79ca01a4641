"""Progress of long work, for a person who waits at a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

T = TypeVar("T")


def track(iterable: Iterable[T], description: str, total: float | None = None) -> Iterator[T]:
    """Yields the items of `iterable` and shows how far it is and how long it will still take.

    The bar goes to standard error and is not drawn when that is no terminal, so that pipes and logs stay clean.

    Args:
        iterable: What is worked through.
        description: What the work is, in a word or two.
        total: How many items there are; asked of `iterable` when not given and it can tell.
    """
    if not sys.stderr.isatty():
        yield from iterable
        return
    # rich takes a tenth of a second to import, which scripts and workers that draw nothing need not pay
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield from progress.track(iterable, total=total, description=description)
