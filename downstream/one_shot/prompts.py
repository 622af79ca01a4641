"""Boxes and points by which a user names objects, as text, and the masks made from them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from downstream.one_shot.grabcut import Box, Point, grabcut
from mug.errors import InputError
from mug.media.masks import PALETTE, VOID
from mug.media.overlay import blend
from mug.media.video import Video

_FORM = re.compile(r"(?:(?P<frame>.+)@)?(?:(?P<id>\d+):)?(?P<numbers>[^:@]+)")
_FORMS = {"box": "x,y,width,height", "point": "x,y"}


@dataclass
class Prompt:
    """What marks an object in a frame."""

    box: Box | None = None
    points: list[Point] = field(default_factory=list)


Prompts = Mapping[str, Mapping[int, Prompt]]
"""By frame name and id."""


def read_prompts(video: Video, boxes: Sequence[str] = (), points: Sequence[str] = ()) -> Prompts:
    """Reads boxes, `[FRAME@][ID:]x,y,width,height`, and points, `[FRAME@][ID:]x,y`.

    Without FRAME, the first frame is meant. Objects without ID get the smallest free ids of their frame in order, boxes
    before points. A box and points with the same ID mark one object.

    Raises:
        InputError: a text has another form, names no frame of the video or an impossible id, or is the second box of an
            object.
    """
    words = [("box", text) for text in boxes] + [("point", text) for text in points]
    parsed = [(kind, text, *_parse(video, kind, text)) for kind, text in words]
    found: dict[str, dict[int, Prompt]] = defaultdict(dict)
    for _, _, frame, identity, _ in parsed:
        if identity is not None:
            found[frame].setdefault(identity, Prompt())
    for kind, text, frame, identity, numbers in parsed:
        objects = found[frame]
        if identity is None:
            identity = next((i for i in range(1, VOID) if i not in objects), VOID - 1)
        prompt = objects.setdefault(identity, Prompt())
        if kind == "point":
            prompt.points.append((numbers[0], numbers[1]))
        elif prompt.box is None:
            prompt.box = (numbers[0], numbers[1], numbers[2], numbers[3])
        else:
            raise InputError(f"--box {text}: object {identity} has a box already; give another id")
    return found


def _parse(video: Video, kind: str, text: str) -> tuple[str, int | None, list[float]]:
    """Frame, id and numbers of a box or point."""
    match = _FORM.fullmatch(text.strip())
    try:
        numbers = [float(number) for number in match["numbers"].split(",")] if match else []
    except ValueError:
        numbers = []
    if match is None or len(numbers) != _FORMS[kind].count(",") + 1:
        raise InputError(f"--{kind} {text}: must be {_FORMS[kind]} in pixels, with an id as 2:{_FORMS[kind]}")
    identity = int(match["id"]) if match["id"] else None
    if identity is not None and not 0 < identity < VOID:
        raise InputError(f"--{kind} {text}: ids are 1 to {VOID - 1}")
    return _frame(video, match["frame"], f"--{kind} {text}"), identity, numbers


def _frame(video: Video, name: str | None, option: str) -> str:
    """The full name of a frame, of whose number leading zeros may be left out; by default the first."""
    if name is None:
        return video.frame_names[0]
    if video.live:
        raise InputError(f"{option}: a stream has no later frame yet; mark objects in its first")
    names = video.frame_names
    number = name.lstrip("0") or "0"
    alike = [other for other in names if (other.lstrip("0") or "0") == number] if name.isdigit() else []
    if name not in names and len(alike) != 1:
        raise InputError(f"{option}: {video.name} has no frame {name}; its frames are {names[0]} to {names[-1]}")
    return name if name in names else alike[0]


def masks_of(video: Video, prompts: Prompts) -> Iterator[tuple[str, np.ndarray]]:
    """Name and mask (H, W) uint8 of each frame with prompts.

    Raises:
        InputError: see `mask_of`.
    """
    for name, objects in prompts.items():
        yield name, mask_of(video[video.frame_names.index(name)], objects)


def mask_of(frame: np.ndarray, objects: Mapping[int, Prompt]) -> np.ndarray:
    """The mask (H, W) uint8 of prompted objects. Where objects overlap, the smaller one is taken to be in front.

    Raises:
        InputError: a box or point lies outside the frame, or nothing is left of an object.
    """
    cuts = {i: grabcut(frame, prompt.box, prompt.points) for i, prompt in objects.items()}
    mask = np.zeros(frame.shape[:2], np.uint8)
    for i in sorted(cuts, key=lambda i: (-int(cuts[i].sum()), i)):
        mask[cuts[i]] = i
    for i in cuts:
        if not (mask == i).any():
            raise InputError(f"object {i}: its mask is that of other objects; mark it by another box or by points")
    return mask


def drawn(frame: np.ndarray, mask: np.ndarray, objects: Mapping[int, Prompt]) -> np.ndarray:
    """The frame (H, W, 3) uint8 RGB with the mask and the prompts drawn over it."""
    picture = blend(frame, mask)
    thickness = max(1, round(min(frame.shape[:2]) / 240))
    for i, prompt in objects.items():
        colour = tuple(int(c) // 2 + 127 for c in PALETTE[i])  # lighter than the mask
        if prompt.box is not None:
            x, y, w, h = prompt.box
            corners = (round(x), round(y)), (round(x + w) - 1, round(y + h) - 1)
            cv2.rectangle(picture, *corners, colour, thickness)
        for x, y in prompt.points:
            cv2.drawMarker(picture, (int(x), int(y)), colour, cv2.MARKER_CROSS, 12 * thickness, 2 * thickness)
    return picture
