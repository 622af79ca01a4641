"""One command at a time in an output folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from mug.errors import InputError
from mug.run.shard import is_first_process, shard_of

_held: set[int] = set()
"""Descriptors of the folders that this process keeps locked."""


@contextmanager
def locked(folder: Path, shared: bool = False) -> Iterator[None]:
    """Keeps other commands out of an output folder while the block runs.

    The folder is created if it is missing, and removed again if the block leaves it empty. The lock is advisory, lies
    on the folder itself, so that no file tells of it, and ends with the process, however that ends. A file system
    without locks (some network disks) is used without.

    Args:
        folder: The folder. One that cannot be created or opened is left to the command, which knows what to say.
        shared: Whether other blocks that share the folder, such as the shards of one command, may run meanwhile.

    Raises:
        InputError: another command writes to the folder.
    """
    folder = Path(os.path.abspath(folder))
    missing = [place for place in (folder, *folder.parents) if not os.path.lexists(place)]
    try:
        descriptor: int | None = None
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
            _held.add(descriptor)
        if descriptor is not None and not _lock(descriptor, shared):
            raise InputError(f"{folder}: another mug command writes to it; wait for that one or choose another folder")
        yield
    finally:
        if descriptor is not None:
            _held.discard(descriptor)
            os.close(descriptor)
        for place in missing:
            with suppress(OSError):  # not empty
                place.rmdir()


def output_lock(options: Any, name: str) -> Any:
    """The lock of a command with these options, of which the option `name` is its output folder.

    The processes of one training take it once, in the first. Shards of a command share the folder.
    """
    folder = getattr(options, name)
    if hasattr(options, "shard"):
        return locked(folder, shared=shard_of(options.shard).count > 1)
    return locked(folder) if is_first_process() else nullcontext()


def _lock(descriptor: int, shared: bool) -> bool:
    """Whether the lock could be taken, or there are none here."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        return True
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _forget() -> None:
    """Closes the descriptors in a forked child, which would keep the locks of its parent after the parent's end."""
    while _held:
        with suppress(OSError):
            os.close(_held.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
