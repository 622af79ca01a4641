"""Masks on disk: indexed ones with the DAVIS palette, and soft 8-bit maps.

In memory a mask is HW uint8: 0 background, objects from 1, 255 void.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from mug.errors import InputError
from mug.media.files import atomic_path

VOID = 255
MAX_LEVELS = 64
"""A grey mask with more levels than this is a soft map, not one with object ids."""

_READ_ERRORS = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


def _davis_palette() -> np.ndarray:
    """(256, 3) uint8: the 22 colours of PASCAL VOC, whose bits are those of the index, then greys."""
    palette = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    for index in range(22):
        for channel in range(3):
            bits = (index >> channel & 1) << 7 | (index >> (channel + 3) & 1) << 6
            palette[index, channel] = bits
    return palette


PALETTE = _davis_palette()


def read_mask(path: Path, lone_void: bool = False) -> np.ndarray:
    """Reads a mask of any encoding in use as HW uint8 indices.

    Accepted are indexed and grey images with object ids, 0/255 and 1-bit binaries (read as 0/1), a grey channel with an
    alpha one (a frame of DAVIS-16 is stored so) and colours of the DAVIS palette. 255 is an object where it stands
    alone with 0, and void beside other ids.

    Args:
        path: The file.
        lone_void: 255 is void even where it stands alone with 0, as in masks of class ids.

    Raises:
        InputError: unreadable, 16-bit, soft, or with colours outside the palette.
    """
    image = _open(path)
    if image.mode in ("RGB", "RGBA"):
        mask = _from_colours(np.asarray(image.convert("RGB")), path)
    elif image.mode in ("1", "L", "P"):
        mask = np.asarray(image, dtype=np.uint8)
    elif image.mode in ("LA", "PA"):
        mask = np.asarray(image)[..., 0]
    else:
        raise InputError(f"{path}: masks of mode {image.mode} are not understood; save it as an 8-bit indexed PNG")
    ids = values_of(mask)
    if image.mode != "P" and len(ids) > MAX_LEVELS:
        raise InputError(f"{path}: {len(ids)} grey levels make a soft map, not a mask; threshold it first")
    if not lone_void and np.isin(ids, (0, VOID)).all():
        return (mask == VOID).astype(np.uint8)
    return np.array(mask)


def read_binary(path: Path) -> np.ndarray:
    """Reads a mask of one object as HW uint8 with 0 and 1, also where its 0 and 255 were blurred or stored with loss.

    Object is what is brighter than the middle grey; of indexed images, and of grey ones that stay below 2, what is not
    0.

    Raises:
        InputError: unreadable or 16-bit.
    """
    image = _open(path)
    indexed = image.mode in ("1", "P", "PA")
    levels = np.asarray(image)[..., 0] if image.mode == "PA" else np.asarray(image if indexed else image.convert("L"))
    threshold = 0 if indexed or levels.max(initial=0) < 2 else 127
    return (levels > threshold).astype(np.uint8)


def values_of(mask: np.ndarray) -> np.ndarray:
    """The values that occur in a mask (HW uint8), sorted; ten times as fast as `numpy.unique`."""
    return np.flatnonzero(Image.fromarray(mask).histogram())


def read_soft(path: Path) -> np.ndarray:
    """Reads a soft map as HW uint8, 0 surely background to 255 surely foreground.

    Raises:
        InputError: unreadable, 16-bit, or in colour.
    """
    image = _open(path)
    if image.mode == "L":
        return np.array(image)
    rgb = np.asarray(image.convert("RGB"))
    if (rgb != rgb[..., :1]).any():
        raise InputError(f"{path}: is in colour; a soft map is an 8-bit grey image")
    return np.array(rgb[..., 0])


def write_mask(path: Path, mask: np.ndarray) -> None:
    """Writes a mask (HW uint8 indices) as an indexed PNG with the DAVIS palette."""
    image = Image.fromarray(_as_uint8(mask)).convert("L")
    image.putpalette(PALETTE.tobytes())
    with atomic_path(path) as temporary:
        image.save(temporary, format="PNG")


def write_soft(path: Path, soft: np.ndarray) -> None:
    """Writes a soft map (HW uint8, 0 to 255) as a grey PNG."""
    with atomic_path(path) as temporary:
        Image.fromarray(_as_uint8(soft)).save(temporary, format="PNG")


def _as_uint8(array: np.ndarray) -> np.ndarray:
    if array.dtype not in (np.uint8, np.bool_) or array.ndim != 2:
        raise ValueError(f"expected HW uint8, got {array.shape} {array.dtype}")
    return np.ascontiguousarray(array, dtype=np.uint8)


def _open(path: Path) -> Image.Image:
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such mask; check the path")
    try:
        data = path.read_bytes()
        image = Image.open(io.BytesIO(data))
        image.load()
    except _READ_ERRORS as error:
        raise InputError(f"{path}: cannot be read as an image, it may be truncated; write it anew") from error
    # Pillow narrows 16-bit colour silently, so the depth is read from the PNG header itself
    if image.mode.startswith(("I", "F")) or (data.startswith(b"\x89PNG") and data[24] == 16):
        raise InputError(f"{path}: holds 16 bits a pixel; save it as an 8-bit PNG")
    return image


def _from_colours(rgb: np.ndarray, path: Path) -> np.ndarray:
    """(H, W, 3) colours -> HW indices of the palette; where two entries are alike the lower one."""
    codes, where = np.unique(_code(rgb), return_inverse=True)
    known, first = np.unique(_code(PALETTE), return_index=True)
    slots = np.searchsorted(known, codes).clip(max=len(known) - 1)
    strange = codes[known[slots] != codes]
    if len(strange):
        colour = tuple(int(strange[0]) >> shift & 255 for shift in (16, 8, 0))
        raise InputError(f"{path}: colour {colour} is not of the DAVIS palette; save it as an indexed PNG")
    return first[slots][where].reshape(rgb.shape[:2]).astype(np.uint8)


def _code(rgb: np.ndarray) -> np.ndarray:
    wide = rgb.astype(np.int64)
    return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]
