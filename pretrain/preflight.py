"""Checks, before the first step of a run, of everything that could stop it later."""

from __future__ import annotations

import copy
import os

import torch
from torch import Tensor

from mug.errors import InputError
from mug.granularity.short_term import patch_size
from mug.media.files import require_free_disk
from mug.media.listing import in_words
from mug.model import Batch, MuG
from mug.run.engine import free_memory
from pretrain.bootstrap import label_frames
from pretrain.options import PretrainOptions
from pretrain.videos import VideoIndex

BYTES_A_LABEL = 20_000  # size of an 8-bit map at 480p, rounded up


def check_videos(options: PretrainOptions, index: VideoIndex) -> None:
    """Rejects too few or too short videos, and a disk without enough space for the run.

    Raises:
        InputError: the message names the option or folder to change.
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
    """Runs a small batch through a copy of the model and estimates how much memory a full step keeps.

    Args:
        options: Options of the run.
        network: The model, which is not changed.
        batch: A few samples, on the device.
        samples: Number of samples per forward pass of a process.
        device: Device of the run.

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
        rehearsal(batch, options.loss)["total"]
    needed = sum(kept.values()) * samples // len(batch.names)
    here = int(os.environ.get("LOCAL_WORLD_SIZE", 1)) if device.type == "cpu" else 1
    free = free_memory(device) // here
    if needed > free:
        raise InputError(
            f"batch: {samples} samples at {options.sample.size} px keep about {needed / 2**30:.1f} GiB and "
            f"{free / 2**30:.1f} are free on {device}; give a larger --accumulate, or a smaller --batch"
        )
    return f"a step keeps about {needed / 2**30:.2f} of {free / 2**30:.1f} GiB free on {device}"


def check(options: PretrainOptions) -> None:
    """Rejects numbers that make training impossible.

    Raises:
        InputError: the message names the option and valid values.
    """
    steps = options.round_steps()
    if not steps or min(steps) < 1:
        raise InputError(f"rounds: {options.rounds} of {options.steps} steps train nothing; give 1 or more of each")
    parts = options.accumulate * options.engine.devices * options.engine.nodes
    if options.accumulate < 1 or options.batch < 1 or options.batch % parts:
        raise InputError(
            f"batch: {options.batch} videos cannot be shared evenly by {parts} parts (accumulate x devices x nodes); "
            f"give a multiple of {max(parts, 1)}"
        )
    if options.sample.size % options.model.backbone.stride:
        raise InputError(
            f"sample.size: {options.sample.size} px are no whole number of cells of {options.model.backbone.stride}; "
            "give a multiple of model.backbone.stride"
        )
    # the tracked patch of the short term is a quarter of the frame, and batch norm needs two values per channel
    cells = -(-patch_size(options.sample.size) // options.model.backbone.stride)
    together = options.batch // options.accumulate
    if together * cells**2 < 2 and (options.loss.short or (options.warmup.steps and options.warmup.loss.short)):
        raise InputError(
            f"batch: one sample at a time of {options.sample.size} px tracks a patch of one single cell, which batch "
            f"norm cannot normalise; give --batch {2 * options.accumulate} or more, or "
            f"--sample.size {5 * options.model.backbone.stride} or more"
        )
    for name, value in (
        ("save_every", options.save_every), ("bootstrap.stride", options.bootstrap.stride),
    ):  # fmt: skip
        if value < 1:
            raise InputError(f"{name}: {value} is too few; give 1 or more")
    for name, value in (
        ("picture_every", options.picture_every), ("share_every", options.share_every),
        ("retrieval_every", options.retrieval_every), ("workers", options.workers),
        ("schedule.warmup", options.schedule.warmup), ("warmup.steps", options.warmup.steps),
    ):  # fmt: skip
        if value < 0:
            raise InputError(f"{name}: {value} is negative; give 0 or more")
    if options.optimiser.lr <= 0:
        raise InputError(f"optimiser.lr: {options.optimiser.lr} moves nothing; give a positive rate")
    if not 0 <= options.bootstrap.alpha <= 1:
        raise InputError(f"bootstrap.alpha: {options.bootstrap.alpha} is no share; give 0 to 1")
