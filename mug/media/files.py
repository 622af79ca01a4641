"""Atomic writes of files and folders, and checks of output folders."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mug.errors import InputError

MIN_FREE_BYTES = 64 * 2**20
PARTIAL = ".partial"
"""Suffix of the hidden folders that files are written in before they are moved to their place."""

_holders: set[Path] = set()
"""Those of this process that may exist now."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a temporary path that is renamed to `path` when the block ends without an error.

    The block may write a file there, or create a folder (then `path` must not exist yet). The temporary path keeps the
    suffix of `path`, by which writers choose their format. Missing parent folders are created.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    holder = _new_holder(path.parent, path.stem)
    try:
        holder.mkdir(mode=0o700)
        temporary = holder / path.name
        yield temporary
        if temporary.is_file():
            temporary.chmod(0o666 & ~_umask())  # some writers, like that of safetensors, make private files
        os.replace(temporary, path)
    except OSError as error:  # of the disk, for example, which users know by the path that they gave
        if error.errno and (error.filename is None or Path(os.fsdecode(error.filename)).is_relative_to(holder)):
            error.filename = str(path)
        raise
    finally:
        _remove_holder(holder)


def _new_holder(folder: Path, name: str) -> Path:
    """The path of a hidden folder that is still to be made."""
    holder = folder / f".{name}.{secrets.token_hex(4)}{PARTIAL}"
    _holders.add(holder)
    return holder


def _remove_holder(holder: Path) -> None:
    shutil.rmtree(holder, ignore_errors=True)
    _holders.discard(holder)


def remove_begun() -> None:
    """Removes the partial writes of this process, which a signal may have kept from being removed."""
    for holder in list(_holders):
        _remove_holder(holder)


def remove_partial(paths: Iterable[Path]) -> None:
    """Removes, among these paths, the hidden folders of `atomic_path` that a killed process has left behind."""
    for holder in [path for path in paths if path.name.startswith(".") and path.name.endswith(PARTIAL)]:
        remove(holder)


def begun_for(holder: Path) -> str:
    """The name, without suffix and leading dots, of the file that a hidden folder of `atomic_path` is for.

    >>> begun_for(Path("out/.dog.k3j_x7aq.partial"))
    'dog'
    """
    return holder.name.removesuffix(PARTIAL).rpartition(".")[0].lstrip(".")


@contextmanager
def replaced_together(name: str, folders: Iterable[Path], files: Callable[[], Iterable[Path]]) -> Iterator[None]:
    """Context for writing files that belong together, anew.

    Those that are there are set aside. If the block fails because of the input (`InputError`) or the disk (`OSError`),
    what it wrote is removed and everything is as before; else what was set aside is removed.

    Args:
        name: What the files are of; see `begun_for`.
        folders: Folders that the block may create.
        files: Gives those of the files that exist, now or after the block.
    """
    missing = [place for folder in folders for place in (folder, *folder.parents) if not place.exists()]
    holders: dict[Path, Path] = {}
    try:
        for path in list(files()):
            if path.parent not in holders:
                holders[path.parent] = _new_holder(path.parent, Path(name).name)
                holders[path.parent].mkdir(mode=0o700)
            os.replace(path, holders[path.parent] / path.name)
        yield
    except (InputError, OSError):
        for path in list(files()):
            remove(path)
        for folder, holder in holders.items():
            for path in holder.iterdir():
                os.replace(path, folder / path.name)
        for place in missing:
            with suppress(OSError):  # not empty, or not made
                place.rmdir()
        raise
    finally:
        for holder in holders.values():
            _remove_holder(holder)


@contextmanager
def undone_if_refused(folder: Path) -> Iterator[None]:
    """Context for filling a folder: after an `InputError` or `OSError`, those that are new in it are removed."""
    before = set(os.listdir(folder)) if folder.is_dir() else None
    try:
        yield
    except (InputError, OSError):
        for name in set(os.listdir(folder)) - (before or set()) if folder.is_dir() else ():
            remove(folder / name)
        if before is None:
            with suppress(OSError):
                folder.rmdir()
        raise


def remove(path: Path) -> None:
    """Removes a file, a link, or a folder with all it holds; a missing one is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _umask() -> int:
    """The permissions that new files do not get; it can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def check_output(
    folder: Path, overwrite: bool, fault: str = "already holds results; choose another folder or add --overwrite"
) -> None:
    """Checks that a folder can take results, and changes nothing.

    Args:
        folder: The folder.
        overwrite: Whether it may hold something.
        fault: What is said of a folder that is not empty.

    Raises:
        InputError: it is not empty and `overwrite` is not set, it cannot be created or written to, or its disk is full.
    """
    folder = Path(folder)
    _check_place(folder, "choose another folder")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; name a folder for the results")
    if folder.exists() and not overwrite and not all(map(is_hidden, os.listdir(folder))):
        raise InputError(f"{folder}: {fault}")


def prepare_output(
    folder: Path, overwrite: bool, fault: str = "already holds results; choose another folder or add --overwrite"
) -> None:
    """Creates the folder for results; see `check_output`."""
    check_output(folder, overwrite, fault)
    Path(folder).mkdir(parents=True, exist_ok=True)


def prepare_file(path: Path, overwrite: bool) -> None:
    """Checks that a file can be written; `atomic_path` creates its folder.

    Raises:
        InputError: it exists and `overwrite` is not set, its folder cannot be created or written to, or its disk is
            full.
    """
    if path.exists() and not overwrite:
        raise InputError(f"{path}: is there already; choose another file or add --overwrite")
    _check_place(path.parent, "choose another place")


def _check_place(folder: Path, remedy: str) -> None:
    """Raises `InputError` unless something can be written to the folder or to the one that it would be created in."""
    there = Path(os.path.abspath(folder))
    while not os.path.lexists(there):
        there = there.parent
    if there.is_dir() and not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"{folder}: cannot be written to; {remedy}")
    if not there.is_dir() and there != Path(os.path.abspath(folder)):
        raise InputError(f"{folder}: cannot be made ({there} is no folder); {remedy}")
    require_free_disk(there)


def inside(folder: Path, name: str) -> Path:
    """The path `folder / name` of what is named by others, such as the sequences that a list of a dataset names.

    Raises:
        InputError: the name leads out of the folder, or a link that lies in the folder does.
    """
    path = folder / name
    parts = Path(name).parts
    if not parts or path == folder or os.path.isabs(name) or ".." in parts or "\0" in name:
        raise InputError(f"{folder}: {name!r} would lead out of it; rename that sequence")
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{path}: is a link that leads out of {folder}; remove the link or choose another folder")
    return path


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
