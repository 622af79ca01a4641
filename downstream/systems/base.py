"""What a method is to the rest of the house, and the table of all there are.

A method is a `System` in a module (or folder) of its own and a row of the table. A task that it can do is a `Part`: a
dataclass of options, which the command line reads before any large library is loaded, and what opens it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import numpy as np

from downstream.backbones.names import OURS
from mug.errors import InputError
from mug.lazy import resolve
from mug.media.video import Video

if TYPE_CHECKING:
    from torch import Tensor, nn

    from downstream.training.annotated import Annotated

SYSTEMS = {
    "mug": "downstream.systems.mug:SYSTEM",
    "agnn": "downstream.systems.agnn:SYSTEM",
}
"""Where each system lies; imported once it is asked for."""

Task = Literal["zero_shot", "one_shot", "training"]
TASKS: Mapping[Task, str] = {"zero_shot": "finds objects", "one_shot": "carries masks", "training": "can be trained"}

Masks = Mapping[str, np.ndarray]
"""Masks that are given, HW uint8 ids, by the names of their frames."""

OneShot = Callable[[Video, Masks], Iterator[np.ndarray]]
"""A method of O-VOS: a video and its given masks -> the mask (H, W) uint8 of each frame, in order, memory flat."""


class Matching(NamedTuple):
    """What frames are compared by where a method's objects are carried through a video."""

    backbone: str = OURS
    weights: Path | None = None


class ZeroShot(NamedTuple):
    """A method of Z-VOS, ready to run."""

    find: Callable[[Video], Iterator[np.ndarray]]
    """A video -> foreground probability (H, W) float32 in [0, 1] of each frame, in order, memory flat."""
    matching: Matching = Matching()
    """Its own, where it has one."""


class Trainable(Protocol):
    """A network with its losses, as `mug finetune` trains it: also an `nn.Module`."""

    network: nn.Module
    """What a checkpoint holds and weights are."""
    rates: Mapping[str, float]
    """Learning rates of parts, as factors, by how the names of their parameters begin."""
    stills: Sequence[Path]
    """Data sets of still images that every other step trains on."""

    def forward(self, frames_bnchw: Tensor, masks_bnhw: Tensor, still: bool, step: int) -> dict[str, Tensor]:
        """The losses of a step.

        Args:
            frames_bnchw: uint8 (B, N', 3, S, S): of each of B videos or groups N' frames.
            masks_bnhw: uint8 (B, N', S, S), 255 void.
            still: Whether these are still images.
            step: For what is drawn anew each step.

        Returns:
            `total`; without gradient `iou` and the `logits` (B * N', 1, h, w).
        """

    def finish(self, sources: Sequence[Annotated]) -> tuple[nn.Module, dict[str, str]]:
        """The network as it is released after the last step, and what its metadata say of that."""

    def save(self, path: Path, network: nn.Module, metadata: Mapping[str, str]) -> None:
        """Writes the weights."""


@dataclass(frozen=True)
class Part:
    """What a system brings to a task."""

    options: type
    """Dataclass of all options of the command with this system: `SegmentOptions`, `PropagateOptions` or
    `FinetuneOptions` and its own."""
    open: str
    """`module:function`, imported when called: (options, device) -> `ZeroShot` or `OneShot`, or of `training`
    (options) -> `Trainable`."""


@dataclass(frozen=True)
class System:
    """A method of the papers."""

    zero_shot: Part | None = None
    one_shot: Part | None = None
    training: Part | None = None


def part_of(name: str, task: Task) -> Part:
    """What a system brings to a task.

    Raises:
        InputError: there is no such system, or it has another task.
    """
    able = {known: brought for known in SYSTEMS if (brought := getattr(resolve(SYSTEMS[known]), task)) is not None}
    if name not in able:
        raise InputError(f"system {name}: is none that {TASKS[task]}; give {', '.join(able)}")
    part: Part = able[name]
    return part


def open_part(task: Task, name: str, *arguments: Any) -> Any:
    """Opens what a system brings to a task; arguments and result are those of `Part.open`."""
    return resolve(part_of(name, task).open)(*arguments)
