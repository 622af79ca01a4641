"""Reading of pictures with their EXIF orientation applied; all pictures are read through this module."""

from __future__ import annotations

import io
import re
import struct
from typing import IO, Literal, Protocol

import numpy as np
from PIL import Image

from mug.errors import InputError

_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)
_REMEDIES = {
    "frame": "cannot be decoded, it may be truncated; write it anew or remove it",
    "mask": "cannot be read as an image, it may be truncated; write it anew",
}
_ORIENTATION = 0x112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Transposition that brings a picture upright, by EXIF orientation."""
_JPEGS = ("JPEG", "MPO")
_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])", re.DOTALL)
"""A JPEG marker; in the coded data, FF is followed only by a stuffed zero or a restart marker."""


class PictureFile(Protocol):
    """The file of a picture: a path, or what can be read like one; as text, its name for messages."""

    @property
    def stem(self) -> str:
        """Its name without suffix."""

    def read_bytes(self) -> bytes:
        """The content."""

    def open(self, mode: Literal["rb"], /) -> IO[bytes]:
        """The content as an open file."""


def load_picture(path: PictureFile, what: Literal["frame", "mask"], shorter: int | None = None) -> Image.Image:
    """Decodes a picture and turns it upright.

    Args:
        path: File of any format that Pillow reads.
        what: Kind of picture, for messages.
        shorter: If given, a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size as long as its shorter side keeps this
            many pixels, which is several times faster.

    Raises:
        InputError: the file is missing, truncated or not an image.
    """
    try:
        data = path.read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            if shorter is not None and (scale := shorter / min(image.size)) < 1:
                width, height = image.size
                image.draft("RGB", (int(np.ceil(width * scale)), int(np.ceil(height * scale))))
            image.load()
            if image.format in _JPEGS and not _is_whole_jpeg(data):
                raise InputError(f"{path}: is truncated; write it anew or remove it")
            turn = _UPRIGHT.get(_orientation(image))
            upright = image if turn is None else image.transpose(turn)
            upright.format = image.format  # tells whether it was stored with loss
            return upright
    except (FileNotFoundError, IsADirectoryError) as error:
        raise InputError(f"{path}: no such {what}; check the path") from error
    except _UNREADABLE as error:
        raise InputError(f"{path}: {_REMEDIES[what]}") from error


def read_frame(path: PictureFile, shorter: int | None = None) -> np.ndarray:
    """Reads a frame as HWC uint8 RGB, turned upright by its EXIF data.

    Args:
        path: A file with one of `mug.media.listing.FRAME_SUFFIXES`.
        shorter: See `load_picture`.

    Raises:
        InputError: the file is missing, truncated, not an image, or has 16 bits.
    """
    image = load_picture(path, "frame", shorter)
    _check_depth(path, image)
    return np.array(image.convert("RGB"))


def picture_size(path: PictureFile) -> tuple[int, int]:
    """Height and width in pixels of a picture as returned by `read_frame`; for most formats only the header is read.

    Raises:
        InputError: the file is missing, not an image, or has 16 bits.
    """
    try:
        with path.open("rb") as file, Image.open(file) as image:
            _check_depth(path, image)
            if image.format == "TIFF":
                image.load()  # Pillow itself turns TIFFs
            # for a PNG without EXIF data before the pixels, Pillow would decode the pixels to search behind them
            told = image.format != "PNG" or "exif" in image.info
            turned = told and _orientation(image) in (5, 6, 7, 8)
            width, height = image.size
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such frame; check the path") from error
    except _UNREADABLE as error:
        raise InputError(f"{path}: cannot be read as an image; fetch it again") from error
    return (width, height) if turned else (height, width)


def is_whole(path: PictureFile) -> bool:
    """Whether a JPEG or PNG has its end marker anywhere in the file; other formats pass. Nothing is decoded."""
    with path.open("rb") as file:
        start = file.read(8)
        if start.startswith(b"\xff\xd8"):
            file.seek(-2, 2)
            if file.read() == b"\xff\xd9":
                return True
            file.seek(0)
            return _is_whole_jpeg(file.read())
        if start == b"\x89PNG\r\n\x1a\n":
            while len(head := file.read(8)) == 8:
                if head[4:] == b"IEND":
                    return len(file.read(4)) == 4
                file.seek(int.from_bytes(head[:4], "big") + 4, 1)
            return False
    return True


def fit_size(size: tuple[int, int], shorter: int) -> tuple[int, int]:
    """Height and width with the shorter side reduced to at most `shorter` pixels, keeping the aspect ratio."""
    scale = min(1.0, shorter / min(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _is_whole_jpeg(data: bytes) -> bool:
    """Whether the picture ends within the data; other data may follow (a motion photo's video, padding)."""
    if data.endswith(b"\xff\xd9"):
        return True
    at = 2
    while found := _MARKER.search(data, at):
        marker, at = found[1][0], found.end()
        if marker == 0xD9:
            return True
        if marker not in (0x01, 0xD8):  # other markers start a segment, whose bytes may look like markers
            at += int.from_bytes(data[at : at + 2], "big")
    return False


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except (*_UNREADABLE, KeyError, TypeError):  # unreadable EXIF data: no rotation
        return 1


def _check_depth(path: PictureFile, image: Image.Image) -> None:
    if image.mode.startswith(("I", "F")):
        raise InputError(f"{path}: holds 16 bits a pixel; save it with 8 bits a channel")
