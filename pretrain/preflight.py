"""A look at everything that could stop a run later, before its first step."""

from __future__ import annotations

import copy
import os

import torch
from torch import Tensor

from mug.errors import InputError
from mug.media.files import require_free_disk
from mug.model import Batch, MuG
from mug.run.engine import free_memory
from pretrain.bootstrap import label_frames
from pretrain.options import PretrainOptions
from pretrain.videos import VideoIndex, in_words

BYTES_A_LABEL = 20_000  # of an 8-bit map at 480p, or a little more


def check_videos(options: PretrainOptions, index: VideoIndex) -> None:
    """Refuses videos that are too few or too short for a batch, and a disk too full for the run.

    Raises:
        InputError: naming the option or the folder that would have to change.
    """
    if len(index) < options.batch:
        raise InputError(
            f"{in_words(options.videos)}: holds {len(index)} usable videos and a batch takes {options.batch}; "
            f"give more videos, or --batch {len(index)} or less"
        )
    shortest = min(index, key=len)
    if len(shortest) < options.sample.abstract:
        raise InputError(
            f"{in_words(options.videos)}: {shortest.name} has {len(shortest)} frames and an abstract takes "
            f"{options.sample.abstract}; give longer videos, or a smaller --sample.abstract"
        )
    labels = sum(len(label_frames(video, options.bootstrap.stride)) for video in index)
    require_free_disk(options.out, 2**28 + labels * len(options.round_steps()) * BYTES_A_LABEL)


def check_step(options: PretrainOptions, network: MuG, batch: Batch, samples: int, device: torch.device) -> str:
    """Sends a small batch through a copy of the model and estimates what a whole step keeps in memory.

    Args:
        options: Of the run.
        network: The model; it is left as it is.
        batch: A few samples, on the device.
        samples: How many of them a process works through at a time.
        device: Where it is computed.

    Returns:
        The estimate in words.

    Raises:
        InputError: a step would need more memory than is free.
    """
    kept: dict[int, int] = {}

    def keep(x: Tensor) -> Tensor:
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    rehearsal = copy.deepcopy(network).train()
    mixed = options.engine.precision == "bf16-mixed"
    with (
        torch.autocast(device.type, torch.bfloat16, enabled=mixed),
        torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x),
    ):
        rehearsal(batch, options.weights)["total"]
    needed = sum(kept.values()) * samples // len(batch.names)
    here = int(os.environ.get("LOCAL_WORLD_SIZE", 1)) if device.type == "cpu" else 1
    free = free_memory(device) // here
    if needed > free:
        raise InputError(
            f"batch: {samples} samples at {options.sample.size} px keep about {needed / 2**30:.1f} GiB and "
            f"{free / 2**30:.1f} are free on {device}; give a larger --accumulate, or a smaller --batch"
        )
    return f"a step keeps about {needed / 2**30:.2f} of {free / 2**30:.1f} GiB free on {device}"
