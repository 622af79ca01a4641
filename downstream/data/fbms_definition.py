"""`*Def.dat`, the file that defines the ground truth of an FBMS sequence.

Lines alternate between a name with a colon and a value::

    Total number of regions:      Frame number:
    2                             0
    Scale of region 0:            File name:
    16777215                      cats01_0001_gt.ppm
    Scale of region 1:            Input file name:
    255                           cats01_0001.ppm
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from mug.errors import InputError


@dataclass(frozen=True)
class Definition:
    """Content of a `*Def.dat`.

    Attributes:
        colours: The code of each region: a grey value, or 65536 red + 256 green + blue. Region 0 is the background.
        files: Ground truth and image of every annotated frame, in order; the image's suffix may differ on disk.
    """

    colours: tuple[int, ...]
    files: tuple[tuple[str, str], ...]


def read_definition(path: Path) -> Definition:
    """Reads a `*Def.dat`.

    Raises:
        InputError: the file defines no regions or no frames.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="latin-1").splitlines() if line.strip()]
        colours = tuple(int(value) for value in _values(lines, "scale of region"))
        files = tuple(zip(_values(lines, "file name"), _values(lines, "input file name"), strict=True))
    except (OSError, ValueError) as error:
        raise _broken(path) from error
    if not colours or not files:
        raise _broken(path)
    return Definition(colours, files)


def _values(lines: Sequence[str], name: str) -> list[str]:
    return [value for label, value in pairwise(lines) if label.lower().startswith(name)]


def _broken(path: Path) -> InputError:
    return InputError(f"{path}: does not tell regions and frames as FBMS does; unpack the sequence anew")
