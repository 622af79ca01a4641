"""Masks on disk: indexed PNG with the DAVIS palette, and soft 8-bit maps.

In memory a mask is HW uint8: 0 background, objects from 1, 255 void.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from mug.errors import InputError, warn
from mug.media.files import atomic_path
from mug.media.pictures import load_picture

VOID = 255
MAX_LEVELS = 64
"""Highest grey level taken for an object id. Images with many more levels are soft maps."""

_LOSSY = ("JPEG", "MPO", "WEBP")
_LOSS = 12
"""Largest difference between the channels of a grey picture after lossy compression."""
_EXTREME = 32
"""Distance from 0 or 255 within which a level counts as that extreme."""


class SoftMapError(InputError):
    """A grey image that is neither a mask of ids nor a binary mask.

    Attributes:
        brightest: Its highest level.
    """

    def __init__(self, message: str, brightest: int) -> None:
        super().__init__(message)
        self.brightest = brightest


def _davis_palette() -> np.ndarray:
    """(256, 3) uint8: the 22 colours of PASCAL VOC, derived from the bits of the index, then greys."""
    palette = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    for index in range(22):
        for channel in range(3):
            bits = (index >> channel & 1) << 7 | (index >> (channel + 3) & 1) << 6
            palette[index, channel] = bits
    return palette


PALETTE = _davis_palette()


def read_mask(path: Path, lone_void: bool = False) -> np.ndarray:
    """Reads a mask in any common encoding as HW uint8 indices.

    The file determines the meaning of its values. Ids are the indices of an indexed image, the colours of the DAVIS
    palette, and the levels of a grey image that only has 0 to 64 and 255. A grey image whose levels cluster at 0 and
    255 is a mask of one object: it is thresholded at one half, with a warning if it has levels in between (a soft edge,
    JPEG noise). Other images are rejected. 255 is an object if it occurs only with 0, and void beside other ids. Of
    grey with alpha (as a frame of DAVIS-16 is stored) only the grey is used.

    Args:
        path: The file.
        lone_void: Whether 255 stays 255 even if it occurs only with 0, as in masks of class ids.

    Raises:
        SoftMapError: the grey levels are neither ids nor a binary mask.
        InputError: the file is unreadable, has 16 bits, or colours outside the palette.
    """
    image = _open(path)
    grey = _grey(image)
    if grey is not None:
        mask = _from_grey(grey, image.format in _LOSSY, path)
    elif image.mode in ("RGB", "RGBA"):
        mask = _from_colours(np.asarray(image.convert("RGB")), path)
    elif image.mode in ("P", "PA"):
        mask = _from_indices(image, path)
    else:
        raise InputError(f"{path}: masks of mode {image.mode} are not understood; save it as an 8-bit indexed PNG")
    return np.array(mask) if lone_void else _lone_void_shown(mask)


def as_ids(mask: np.ndarray) -> np.ndarray:
    """The ids (HW uint8) of a mask given as an array, interpreted as `read_mask` interprets a grey file.

    There are two differences, as the array may be the result of `read_mask` for an indexed file: any levels are ids
    unless they cluster at 0 and 255 or are as many as in a soft map, and an array of nothing but 255 stays void.

    Raises:
        InputError: the array is not HW, not of integers from 0 to 255, or a soft map.
    """
    if not isinstance(mask, np.ndarray) or mask.ndim != 2:
        shape = getattr(mask, "shape", type(mask).__name__)
        raise InputError(f"the mask is {shape}: give an array (H, W) of ids")
    if mask.dtype.kind not in "bui" or (mask.size and (mask.min() < 0 or mask.max() > VOID)):
        raise InputError(f"the mask holds {mask.dtype} values: give ids from 0 to 255 as uint8")
    levels = np.ascontiguousarray(mask, np.uint8)
    values = values_of(levels)
    several = len(values) > 2 and ((values > MAX_LEVELS) & (values < VOID)).any()
    if len(values) > 2 * MAX_LEVELS or (several and _is_binary(levels)):
        levels = _from_grey(levels, False, "the mask")
    return np.array(levels) if (levels == VOID).all() else _lone_void_shown(levels)


def read_binary(path: Path) -> np.ndarray:
    """Reads a mask of one object as HW uint8 with 0 and 1, even if it was blurred or stored with loss.

    Pixels brighter than middle grey are the object; in indexed images, and in grey ones with no level above 1, all
    non-zero pixels are.

    Raises:
        InputError: the file is unreadable or has 16 bits.
    """
    image = _open(path)
    indexed = image.mode in ("1", "P", "PA")
    levels = np.asarray(image)[..., 0] if image.mode == "PA" else np.asarray(image if indexed else image.convert("L"))
    threshold = 0 if indexed or levels.max(initial=0) < 2 else 127
    return (levels > threshold).astype(np.uint8)


def values_of(mask: np.ndarray) -> np.ndarray:
    """The sorted unique values of a mask (HW uint8), ten times as fast as `numpy.unique`."""
    return np.flatnonzero(Image.fromarray(mask).histogram())


def ids_of(mask: np.ndarray) -> list[int]:
    """The ids of the objects in a mask (HW uint8), sorted: neither 0 nor void."""
    return [int(value) for value in values_of(mask) if value not in (0, VOID)]


def with_given(carried: np.ndarray, given: np.ndarray) -> np.ndarray:
    """A mask (HW uint8) with the objects of `given`, and elsewhere the other objects as they were carried.

    Where `given` is void, what was carried is kept.
    """
    ids = ids_of(given)
    others = np.where(np.isin(carried, ids) & (given != VOID), 0, carried)
    return np.where(np.isin(given, ids), given, others).astype(np.uint8)


def read_soft(path: Path) -> np.ndarray:
    """Reads a soft map as HW uint8, from 0 for certain background to 255 for certain foreground.

    Raises:
        InputError: the file is unreadable, has 16 bits or colours.
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
    image = load_picture(Path(path), "mask")
    with Path(path).open("rb") as file:
        start = file.read(25)
    # Pillow silently converts 16-bit colour to 8 bits, so the depth is read from the PNG header itself
    if image.mode.startswith(("I", "F")) or (start.startswith(b"\x89PNG") and start[24] == 16):
        raise InputError(f"{path}: holds 16 bits a pixel; save it as an 8-bit PNG")
    return image


def _grey(image: Image.Image) -> np.ndarray | None:
    """The levels, HW uint8, of a grey image in any mode; None for an image with indices or colours."""
    if image.mode in ("1", "L"):
        return np.asarray(image, np.uint8)
    if image.mode == "LA":
        return np.asarray(image)[..., 0]
    if image.mode in ("RGB", "RGBA"):
        rgb = np.asarray(image.convert("RGB"))
        spread = int((rgb.max(-1) - rgb.min(-1)).max(initial=0))
        return np.asarray(image.convert("L")) if spread <= (_LOSS if image.format in _LOSSY else 0) else None
    if image.mode == "P":
        colours = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
        indices = np.asarray(image)
        used = values_of(indices)
        used = used[used < len(colours)]
        # black and white are a binary mask, in either order; a palette of grey levels makes a grey image
        if {tuple(colours[i]) for i in used} == {(0,) * 3, (255,) * 3}:
            white = colours[indices.clip(max=len(colours) - 1), 0] > 0
            return np.where(white & (indices == VOID), VOID, white).astype(np.uint8)
        if (colours == np.arange(len(colours))[:, None]).all():
            return indices
    return None


def _from_grey(levels: np.ndarray, lossy: bool, name: Path | str) -> np.ndarray:
    """Ids, or 0 and 255, of a grey image (HW uint8).

    Args:
        levels: The image.
        lossy: Whether it was stored with loss, which ids do not survive.
        name: Name for messages.

    Raises:
        SoftMapError: the levels are neither ids nor a binary mask.
    """
    values = values_of(levels)
    if np.isin(values, (0, VOID)).all():
        return levels
    if not lossy and ((values <= MAX_LEVELS) | (values == VOID)).all():
        return levels
    if _is_binary(levels):
        folder = name.parent if isinstance(name, Path) else name
        warn(f"{name}: is no mask of ids but one of 0 and 255 with levels between; it is cut at one half", folder)
        return np.where(levels > 127, VOID, 0).astype(np.uint8)
    if not lossy and (values > 0).sum() == 1:
        return levels
    brightest = int(values.max())
    if lossy:
        why = "was stored with loss, which ids do not survive; save it as an indexed PNG"
    else:
        why = f"{len(values)} grey levels make a soft map, not a mask; threshold it, or save ids as an indexed PNG"
    raise SoftMapError(f"{name}: {why}", brightest)


def _is_binary(levels: np.ndarray) -> bool:
    """Whether the levels of a grey image cluster at 0 and 255.

    Levels in between must form a narrow edge, unlike in a soft map, and must vary along it, whereas an id fills an
    area.
    """
    between = (levels > _EXTREME) & (levels < VOID - _EXTREME)
    high, middle = int((levels >= VOID - _EXTREME).sum()), int(between.sum())
    here, right, below = levels[:-1, :-1], levels[:-1, 1:], levels[1:, :-1]
    filled = int((between[:-1, :-1] & (here == right) & (here == below)).sum())
    return high > 0 and middle <= 2 * high and 3 * middle <= levels.size and 3 * filled <= middle


def _from_indices(image: Image.Image, path: Path) -> np.ndarray:
    mask = np.asarray(image)[..., 0] if image.mode == "PA" else np.asarray(image)
    count, palette = len(values_of(mask)), image.getpalette("RGB") or []
    if count > MAX_LEVELS and palette != PALETTE.ravel().tolist()[: len(palette)]:
        raise InputError(f"{path}: its {count} colours make a picture, not a mask; save ids with the DAVIS palette")
    return mask


def _lone_void_shown(mask: np.ndarray) -> np.ndarray:
    """A copy in which 255 becomes object 1 if the only other value is 0."""
    return (mask == VOID).astype(np.uint8) if np.isin(values_of(mask), (0, VOID)).all() else np.array(mask)


def _from_colours(rgb: np.ndarray, path: Path) -> np.ndarray:
    """(H, W, 3) colours -> HW palette indices; the lower index if two entries are equal."""
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
