"""Files and folders that appear complete or not at all."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mug.errors import InputError

MIN_FREE_BYTES = 64 * 2**20


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`, which becomes `path` when the block ends without an error.

    The block may write a file there, or make a folder (then nothing may be at `path` yet). The temporary path keeps the
    suffix of `path`, by which writers choose their format; missing parent folders are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    holder = Path(tempfile.mkdtemp(prefix=f".{path.stem}.", dir=path.parent))
    try:
        temporary = holder / path.name
        yield temporary
        os.replace(temporary, path)
    finally:
        shutil.rmtree(holder, ignore_errors=True)


def prepare_output(folder: Path, overwrite: bool) -> None:
    """Makes the folder that results go to.

    Raises:
        InputError: it holds something already and `overwrite` is not set, it cannot be made, or its disk is full.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; name a folder for the results")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror}); choose another folder") from error
    if not os.access(folder, os.W_OK):
        raise InputError(f"{folder}: cannot be written to; choose another folder")
    if not overwrite and not all(map(is_hidden, os.listdir(folder))):
        raise InputError(f"{folder}: already holds results; choose another folder or add --overwrite")
    require_free_disk(folder)


def require_free_disk(folder: Path, needed: int = MIN_FREE_BYTES) -> None:
    """Raises `InputError` when fewer than `needed` bytes are free where `folder` lies."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise InputError(f"{folder}: only {free / 2**20:.0f} MiB are free on its disk, {needed / 2**20:.0f} are needed")


def url_of(path: Path) -> str:
    """A file as FFmpeg is told of it: without `file:`, what stands before a colon in its name would be a protocol."""
    return f"file:{path}"


def is_hidden(name: str) -> bool:
    """Whether a file or folder of that name is one that a system or an editor left behind."""
    return name.startswith(".") or name == "__MACOSX"


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key that puts `frame2` before `frame10`."""
    parts = re.findall(r"\d+|\D+", name)
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts]
