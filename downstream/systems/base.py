"""Interface of a method (system), and the table of all systems.

A method is a `System` in its own module (or folder), with a row in the table. Each task that it supports is a `Part`: a
dataclass of options, which the command line reads before loading any large library, and a function that opens it.
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
    from downstream.training.flows import Flows
    from downstream.training.options import Clip
    from mug.networks.saved import Format

SYSTEMS = {
    "mug": "downstream.systems.mug:SYSTEM",
    "agnn": "downstream.systems.agnn:SYSTEM",
    "cosnet": "downstream.systems.cosnet:SYSTEM",
    "rvos": "downstream.systems.rvos:SYSTEM",
    "hcpn": "downstream.systems.hcpn:SYSTEM",
    "agame": "downstream.systems.agame:SYSTEM",
}
"""Location of each system; imported on demand."""

Task = Literal["zero_shot", "one_shot", "training"]
TASKS: Mapping[Task, str] = {"zero_shot": "finds objects", "one_shot": "carries masks", "training": "can be trained"}

Masks = Mapping[str, np.ndarray]
"""Given masks, HW uint8 ids, by frame name."""

OneShot = Callable[[Video, Masks], Iterator[np.ndarray]]
"""A method of O-VOS: a video and its given masks -> the mask (H, W) uint8 of each frame, in order, in constant
memory."""


class Matching(NamedTuple):
    """Backbone and weights for propagating a method's objects through a video."""

    backbone: str = OURS
    weights: Path | None = None


class ZeroShot(NamedTuple):
    """A method of Z-VOS, ready to run."""

    find: Callable[[Video], Iterator[np.ndarray]]
    """Video -> foreground probability (H, W) float32 in [0, 1] of each frame, in order, in constant memory."""
    matching: Matching = Matching()
    """The method's own matching features, if it has any."""
    crf: str = "agnn"
    """The published parameters of its CRF, a name in `mug.media.refine.CRF_PRESETS`."""
    tell_apart: Callable[[Video], Iterator[np.ndarray]] | None = None
    """Video -> mask (H, W) uint8 of each frame with an id for each object, for a method that segments instances by
    itself. None: its map is divided by `downstream.instances`."""
    live: bool = False
    """Whether it segments each frame without later ones, as a stream requires."""


class Trainable(Protocol):
    """A network with its losses, as trained by `mug finetune`; also an `nn.Module`."""

    network: nn.Module
    """The part that checkpoints and weights files store."""
    rates: Mapping[str, float]
    """Learning rate factors by prefix of the parameter names."""
    stills: Sequence[Path]
    """Datasets of still images that every other step trains on."""

    terms: Sequence[str]
    """Names of the terms of the loss, where there are several; columns of `metrics.csv`."""
    clip: Clip
    """Which frames of a video make a sample."""

    def forward(self, batch: Mapping[str, Tensor], still: bool, step: int) -> dict[str, Tensor]:
        """The losses of a step.

        Args:
            batch: `frames`, uint8 (B, N', 3, H, W): N' frames of each of B videos or groups; and `masks`, uint8
                (B, N', H, W), 255 void. With `clip.flow` also `flow`, uint8 (B, N' - 1, 3, H, W): the optical flow from
                each frame to the next, in colours.
            still: Whether these are still images.
            step: The step, as a seed for random choices.

        Returns:
            `total`; and without gradient, the `terms` before they are weighted, `iou` and the foreground `logits`
            (B * N', 1, h, w).
        """

    def prepare(self, sources: Sequence[Annotated], folder: Path) -> Flows | None:
        """What training needs of the videos and computes once, in a folder that lasts as long as the run.

        Returns:
            The optical flow, if `clip.flow` asks for it.
        """

    def finish(self, sources: Sequence[Annotated]) -> tuple[nn.Module, dict[str, str]]:
        """The network to save after the last step, and additional metadata for its weights."""

    def save(self, path: Path, network: nn.Module, metadata: Mapping[str, str]) -> None:
        """Writes the weights."""


@dataclass(frozen=True)
class Part:
    """A system's implementation of a task."""

    options: type
    """Dataclass of all options of the command with this system: `SegmentOptions`, `PropagateOptions` or
    `FinetuneOptions`, and the system's own."""
    open: str
    """`module:function`, imported when called: (options, device) -> `ZeroShot` or `OneShot`; for `training`, (options)
    -> `Trainable`."""


class Released(NamedTuple):
    """The authors' weights as a network of ours."""

    format: Format[Any]
    """Weights files of the system."""
    network: nn.Module
    """The network with these weights."""
    names: Mapping[str, str]
    """Our name of each tensor, by the authors'; those of theirs that are missing here were left out."""
    training: str = "weights of the authors"
    """Origin of the weights, for their metadata; it says so if parts of the network begin at random."""


@dataclass(frozen=True)
class System:
    """A method of the papers."""

    zero_shot: Part | None = None
    one_shot: Part | None = None
    training: Part | None = None
    format: str | None = None
    """`module:name` of the format of its weights files, a `mug.networks.saved.Format` with the system's name, or MuG's
    own."""
    released: str | None = None
    """`module:function`, imported when called: the state dict of the authors' release -> `Released`."""
    exported: str | None = None
    """`module:function`, imported when called: the system's network -> what `mug export` can make programs of, each a
    `mug.networks.program.Part` by its name, the usual one first."""

    @property
    def weights_format(self) -> Any:
        """The format that `format` names."""
        assert self.format is not None, "a system without weights files of its own"
        return resolve(self.format)


def part_of(name: str, task: Task) -> Part:
    """The part of a system for a task.

    Raises:
        InputError: there is no such system, or it does not support the task.
    """
    able = {known: brought for known in SYSTEMS if (brought := getattr(resolve(SYSTEMS[known]), task)) is not None}
    if name not in able:
        raise InputError(f"system {name}: is none that {TASKS[task]}; give {', '.join(able)}")
    part: Part = able[name]
    return part


def released_by(name: str) -> str:
    """What translates the weights of a system's authors; see `System.released`.

    Raises:
        InputError: there is no such system, or its authors' weights are not known here.
    """
    able = {known: target for known in SYSTEMS if (target := resolve(SYSTEMS[known]).released) is not None}
    if name not in able:
        raise InputError(f"system {name}: is none whose authors' weights are known; give {', '.join(able)}")
    return able[name]


def system_of(weights: Path) -> System:
    """The system that a weights file says it belongs to; MuG, if it says nothing.

    Raises:
        InputError: the file is missing, damaged or no safetensors.
    """
    from mug.networks.tensors import read_metadata

    system: System = resolve(SYSTEMS.get(read_metadata(weights).get("architecture", ""), SYSTEMS["mug"]))
    return system


def open_part(task: Task, name: str, *arguments: Any) -> Any:
    """Opens the part of a system for a task; arguments and result are those of `Part.open`."""
    return resolve(part_of(name, task).open)(*arguments)
