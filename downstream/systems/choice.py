"""Which options a command line may spell depends on the system that it names."""

from __future__ import annotations

from collections.abc import Sequence

from downstream.options import FinetuneOptions, PropagateOptions, SegmentOptions
from downstream.systems.base import part_of
from mug.command.options import spelt


def segment_options(arguments: Sequence[str]) -> type:
    """The options of `mug segment` with the system that its arguments name."""
    return part_of(spelt("system", arguments) or SegmentOptions.system, "zero_shot").options


def propagate_options(arguments: Sequence[str]) -> type:
    """The options of `mug propagate` with the system that its arguments name."""
    return part_of(spelt("system", arguments) or PropagateOptions.system, "one_shot").options


def finetune_options(arguments: Sequence[str]) -> type:
    """The options of `mug finetune` with the system that stands in its first place."""
    name = spelt("system", arguments, place=0)
    return part_of(name, "training").options if name else FinetuneOptions
