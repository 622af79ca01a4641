"""Atomic writes of files and folders, and checks of output folders."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mug.errors import InputError

MIN_FREE_BYTES = 64 * 2**20


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a temporary path that is renamed to `path` when the block ends without an error.

    The block may write a file there, or create a folder (then `path` must not exist yet). The temporary path keeps the
    suffix of `path`, by which writers choose their format. Missing parent folders are created.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    holder = Path(tempfile.mkdtemp(prefix=f".{path.stem}.", dir=path.parent))
    try:
        temporary = holder / path.name
        yield temporary
        if temporary.is_file():
            temporary.chmod(0o666 & ~_umask())  # some writers, like that of safetensors, make private files
        os.replace(temporary, path)
    finally:
        shutil.rmtree(holder, ignore_errors=True)


def remove_partial(paths: Iterable[Path]) -> None:
    """Removes the folders among these hidden paths: partial writes of a killed process, see `atomic_path`."""
    for holder in [path for path in paths if path.is_dir()]:
        shutil.rmtree(holder, ignore_errors=True)


def _umask() -> int:
    """The permissions that new files do not get; it can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def prepare_output(
    folder: Path, overwrite: bool, fault: str = "already holds results; choose another folder or add --overwrite"
) -> None:
    """Creates the folder for results.

    Args:
        folder: The folder.
        overwrite: Whether it may hold something.
        fault: What is said of a folder that is not empty.

    Raises:
        InputError: it is not empty and `overwrite` is not set, it cannot be created, or its disk is full.
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
        raise InputError(f"{folder}: {fault}")
    require_free_disk(folder)


def prepare_file(path: Path, overwrite: bool) -> None:
    """Makes sure that a file can be written.

    Raises:
        InputError: it exists and `overwrite` is not set, its folder cannot be created or written to, or its disk is
            full.
    """
    if path.exists() and not overwrite:
        raise InputError(f"{path}: is there already; choose another file or add --overwrite")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path.parent}: cannot be made ({error.strerror}); choose another place") from error
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"{path.parent}: cannot be written to; choose another place")
    require_free_disk(path.parent)


def require_free_disk(folder: Path, needed: int = MIN_FREE_BYTES) -> None:
    """Raises `InputError` if fewer than `needed` bytes are free on the disk of `folder`."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise InputError(f"{folder}: only {free / 2**20:.0f} MiB are free on its disk, {needed / 2**20:.0f} are needed")


def url_of(path: Path) -> str:
    """A path as a URL for FFmpeg: without `file:`, text before a colon in the name would be taken for a protocol."""
    return f"file:{path}"


def is_hidden(name: str) -> bool:
    """Whether a name is that of a hidden file or folder, or of metadata left by the system."""
    return name.startswith(".") or name == "__MACOSX"


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key that puts `frame2` before `frame10`."""
    parts = re.findall(r"\d+|\D+", name)
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts]
