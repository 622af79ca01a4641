"""`mug finetune`: trains a system on annotated or pseudo-labelled video."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from downstream.options import FinetuneOptions
from downstream.systems.base import Trainable, open_part
from downstream.training.annotated import Annotated, hold_out, open_several, saliency_images
from downstream.training.pictures import training_picture
from downstream.training.pseudo import pseudo_annotations
from downstream.training.samples import Samples, collate
from mug.errors import InputError
from mug.media.listing import in_words, own_name, roots_of
from mug.run.engine import launch
from mug.run.folder import RunFolder, claim, write_text
from mug.run.log import Log
from mug.run.loop import Training, is_finished, provenance
from mug.run.optimise import build_optimiser, learning_rate

if TYPE_CHECKING:
    from lightning.fabric import Fabric

FREE_KEYS = ("out", "workers", "save_every", "engine.threads")
"""Options that may change when a run is resumed; none of them affects the loss."""

COLUMNS = ("step", "lr", "still", "video", "iou", "grad_norm")
"""Columns of `metrics.csv` before the terms of the loss; `still` or `video` is the loss of a step, `iou` the J of its
masks."""


def check(options: FinetuneOptions) -> None:
    """Checks the numeric options.

    Raises:
        InputError: an option is out of range; names the option and a valid value.
    """
    processes = options.engine.devices * options.engine.nodes
    if options.sample.videos % processes:
        raise InputError(
            f"sample.videos: {options.sample.videos} cannot be shared evenly by {processes} processes; give a multiple"
        )
    for name in ("steps", "save_every", "pseudo_frames"):
        if getattr(options, name) < 1:
            raise InputError(f"{name}: {getattr(options, name)} is too few; give 1 or more")
    for name in ("hold", "workers"):
        if getattr(options, name) < 0:
            raise InputError(f"{name}: {getattr(options, name)} is negative; give 0 or more")


@dataclass
class Run(Training):
    """State of a run in progress."""

    options: FinetuneOptions
    samples: Samples
    trainable: Trainable


def finetune(options: FinetuneOptions) -> None:
    """Trains a system. An interrupted run resumes exactly.

    Writes `<system>.safetensors`, `metrics.csv`, `pictures/` and `checkpoints/` to the run's folder.

    Raises:
        InputError: the options, data, weights or folder cannot be used.
        RunError: a loss is not finite.
    """
    check(options)
    folder = claim(options, FREE_KEYS)
    weights = weights_of(folder, options)
    if is_finished(folder, options.steps, weights):
        return
    with folder.kept_if_useful():
        fabric = launch(options.engine)
        with fabric.rank_zero_first():
            sources = training_sources(options, folder, fabric.is_global_zero)
        run = setup(options, folder, fabric, sources)
        train(run)
    run.say(f"{folder.path}: finished after {options.steps} steps; the weights are {weights}")


def weights_of(folder: RunFolder, options: FinetuneOptions) -> Path:
    """Path of a run's weights."""
    return folder.path / f"{options.system}.safetensors"


def setup(options: FinetuneOptions, folder: RunFolder, fabric: Fabric, sources: Sequence[Annotated]) -> Run:
    """Builds the model and restores the state of the run."""
    torch.manual_seed(options.seed)
    trainable = open_part("training", options.system, options)
    stills = [saliency_images(path) for path in trainable.stills]
    with fabric.rank_zero_first():
        flows = trainable.prepare(sources, folder.path)
    samples = Samples(sources, stills, options.sample, options.seed, trainable.clip, flows)
    model, optimiser = fabric.setup(trainable, build_optimiser(trainable, options.optimiser, trainable.rates))
    run = Run(folder, fabric, model, optimiser, trainable.network, options, samples, trainable)
    run.resume()
    return run


def training_sources(options: FinetuneOptions, folder: RunFolder, tell: bool) -> list[Annotated]:
    """The videos or groups to train on; held-out ones are removed and listed in `held_out.txt`."""
    roots = roots_of(options.data)
    if options.labels == "pseudo":
        made = folder.path / "pseudo"
        pseudo_annotations(roots, made, options.pseudo_frames, options.teacher, options.engine.threads)
        sources = open_several([made])
    else:
        sources = open_several(roots, options.dataset, options.split)
    held = hold_out([source.name for source in sources], options.hold)
    sources = [source for source in sources if source.name not in held]
    if not sources:
        raise InputError(f"--hold {options.hold}: leaves nothing of {in_words(roots)} to train on; hold out less")
    if held and tell:
        print(f"held out for testing: {', '.join(held)}")
        write_text(folder.path / "held_out.txt", "".join(f"{name}\n" for name in held))
    return sources


def train(run: Run) -> None:
    """Trains from the current step to the last."""
    options = run.options
    keys = (0, range(run.step, options.steps), options.sample.videos, 1)
    batches = run.batches(run.samples, collate, keys, options.workers)
    run.model.train()
    columns = (*COLUMNS, *run.trainable.terms)
    with run.signals, Log(run.folder, columns, run.step, options.steps, run.fabric.is_global_zero) as log:
        for step in range(run.step, options.steps):
            rate = learning_rate(step, 0, options.steps, options.optimiser.lr, options.schedule)
            values, batch, logits = train_step(run, step, rate, batches)
            run.step = step + 1
            log.write({"step": step, "lr": rate, **values}, f"J {values['iou']:.3f}")
            due = run.step == options.steps or run.step % options.save_every == 0
            if due:
                log.draw(run.step, {"masks": training_picture(batch, logits)})
                save_weights_of(run)
            run.end_step(due, options.steps)


def train_step(
    run: Run, step: int, rate: float, batches: Iterator[dict[str, Any]]
) -> tuple[dict[str, float], dict[str, Any], Tensor]:
    """One step of the optimiser.

    Returns:
        Values for `metrics.csv`, averaged over processes; this process's batch; and its logits.

    Raises:
        RunError: the loss or the gradient is not finite; names the videos of the batch.
    """
    still = run.samples.shows_stills(step)
    seen: list[Any] = []

    def losses_of(batch: dict[str, Any]) -> Mapping[str, Tensor]:
        tensors = {name: x.to(run.fabric.device) for name, x in batch.items() if isinstance(x, Tensor)}
        losses = dict(run.model(tensors, still, step))
        seen[:] = [batch, losses.pop("logits")]
        return losses

    values = run.take_step(batches, 1, losses_of, lambda batch: batch["names"], rate, run.options.optimiser.clip)
    values["still" if still else "video"] = values.pop("total")
    return values, seen[0], seen[1]


def save_weights_of(run: Run) -> None:
    """Writes the weights; only the first process does so."""
    if not run.fabric.is_global_zero:
        return
    options, sources = run.options, run.samples.sources
    data = ", ".join(own_name(root) for root in roots_of(options.data))
    metadata = {
        "training": f"{len(sources)} videos, labels: {options.labels} ({data})",
        **provenance(options, run.step),
    }
    network, more = run.trainable.finish(sources) if run.step == options.steps else (run.trainable.network, {})
    run.trainable.save(weights_of(run.folder, options), network, metadata | more)
