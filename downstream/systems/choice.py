"""Selects the options of a command by the system named on the command line."""

from __future__ import annotations

from collections.abc import Sequence

from downstream.options import FinetuneOptions, PropagateOptions, SegmentOptions
from downstream.systems.base import part_of
from mug.command.options import spelt


def segment_options(arguments: Sequence[str]) -> type:
    """The options of `mug segment` for the system in its arguments."""
    return part_of(spelt("system", arguments) or SegmentOptions.system, "zero_shot").options


def propagate_options(arguments: Sequence[str]) -> type:
    """The options of `mug propagate` for the system in its arguments."""
    return part_of(spelt("system", arguments) or PropagateOptions.system, "one_shot").options


def finetune_options(arguments: Sequence[str]) -> type:
    """The options of `mug finetune` for the system in its first argument."""
    name = spelt("system", arguments, place=0)
    return part_of(name, "training").options if name else FinetuneOptions
