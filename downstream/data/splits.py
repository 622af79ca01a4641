"""Sequence lists in `ImageSets`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mug.errors import InputError
from mug.media.listing import files_below


def read_split(root: Path, split: str, folders: Sequence[str] = ()) -> tuple[Path, list[str]]:
    """The sequences listed in a file of `ROOT/ImageSets`.

    Args:
        root: The dataset.
        split: Name of the file without `.txt` (`val`), with its folder if several contain it (`2017/val`).
        folders: Folders of `ImageSets` to prefer if several contain the list, in order of preference.

    Returns:
        The file, and the names in order.

    Raises:
        InputError: there is no such file, there are several, or it lists no sequence.
    """
    path = _find(root / "ImageSets", split, folders)
    # one name per line, or an image and an annotation per line (DAVIS-16); SegTrack v2 marks some names with a star
    first = [line.split()[0].rstrip("/") for line in path.read_text(errors="replace").splitlines() if line.strip()]
    names = [(entry.split("/")[-2] if "/" in entry else entry).lstrip("*") for entry in first]
    if not names:
        raise InputError(f"{path}: names no sequence; write one name a line")
    return path, list(dict.fromkeys(names))


def _find(folder: Path, split: str, preferred: Sequence[str]) -> Path:
    lists = files_below(folder, (".txt",))
    found = sorted(path for path in lists if path.match(f"{split}.txt"))
    if not found:
        known = sorted({path.stem for path in lists})
        raise InputError(f"{folder}: has no {split}.txt" + (f"; there are {', '.join(known)}" if known else ""))
    if len(found) == 1:
        return found[0]
    for name in preferred:
        if (folder / name / f"{split}.txt") in found:
            return folder / name / f"{split}.txt"
    choices = ", ".join(str(path.relative_to(folder).with_suffix("")) for path in found)
    raise InputError(f"--split {split}: could be any of {choices}; name one of them")
