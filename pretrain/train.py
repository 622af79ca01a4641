"""Pretraining of phi on unlabeled video: setup -> round -> step (MuG Sec. 3.1, 3.2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from mug.checkpoint import load_torchvision, save_weights
from mug.command.preflight import preflight
from mug.granularity.shares import FAINT
from mug.media.listing import in_words, own_name, roots_of
from mug.model import Batch, MuG
from mug.options import LossWeights
from mug.retrieval import retrieval
from mug.run.engine import launch
from mug.run.folder import RunFolder, claim
from mug.run.log import Log
from mug.run.loop import Training, is_finished, provenance
from mug.run.optimise import boundaries, build_optimiser, learning_rate
from mug.run.shard import Shard
from pretrain import pictures
from pretrain.bootstrap import Relabelling, label_weights, relabel, require_labels
from pretrain.dataset import RawBatch, TrainingSamples, collate
from pretrain.options import FREE_KEYS, PretrainOptions
from pretrain.preflight import check, check_step, check_videos
from pretrain.prior_cache import cache_priors
from pretrain.videos import VideoIndex

if TYPE_CHECKING:
    from lightning.fabric import Fabric

COLUMNS = (
    "step", "round", "lr", "total", "frame", "readout", "short", "short_error_px", "long", "inlier_share", "video",
    "instance_accuracy", "warp", "warp_geometry", "warp_matching", "temperature", "grad_norm",
    *(f"share_{term}" for term in vars(LossWeights())), "retrieval_recall", "retrieval_precision",
)  # fmt: skip
"""Columns of `metrics.csv`; disabled terms and steps without a measurement leave a column empty."""

RETRIEVAL_VIDEOS = 100
"""Maximum number of videos for retrieval, chosen evenly; this many take about a minute on one core."""


@dataclass
class Run(Training):
    """A pretraining run in progress."""

    options: PretrainOptions
    index: VideoIndex
    network: MuG
    """The model without the engine's wrapper."""
    faint: set[str] = field(default_factory=set)
    """Loss terms already reported for their negligible gradient."""

    @property
    def rounds(self) -> list[range]:
        """The steps of each round."""
        return boundaries(self.options.round_steps())

    @property
    def prior(self) -> Path:
        """Folder of the initial maps Q."""
        return self.options.maps or self.options.bootstrap.cache or self.folder.labels / "prior"


def pretrain(options: PretrainOptions) -> None:
    """Learns phi from unlabeled video, in rounds; a stopped run resumes exactly.

    Writes `phi.safetensors`, `metrics.csv`, `labels/`, `pictures/`, `checkpoints/` and TensorBoard events to the run's
    folder.

    Raises:
        InputError: the options, the videos or the folder are not usable.
        RunError: a loss is not finite.
    """
    check(options)
    preflight(options)
    folder = claim(options, FREE_KEYS)
    total = sum(options.round_steps())
    if is_finished(folder, total, folder.weights):
        return
    with folder.kept_if_useful():
        run = setup(options, folder)
        for number, steps in enumerate(run.rounds, start=1):
            train_round(run, number, steps)
            if run.step == steps.stop < total:
                renew_labels(run, number)
    run.say(f"{folder.path}: finished after {total} steps; the weights are {folder.weights}")


def setup(options: PretrainOptions, folder: RunFolder) -> Run:
    """Starts the engine, indexes the videos, computes the initial maps, builds the model and loads its state."""
    fabric = launch(options.engine)
    index = build_index(fabric, options)
    if options.maps is not None:
        require_labels([options.maps], index, options.bootstrap.stride)
    torch.manual_seed(options.seed)
    # on CPUs with bfloat16 units, this memory format makes convolutions take a fifth less of a step
    network: MuG = MuG(options.model).to(memory_format=torch.channels_last)
    if options.weights:
        load_torchvision(network.phi, options.weights)
    model, optimiser = fabric.setup(network, build_optimiser(network, options.optimiser))
    run = Run(folder, fabric, model, optimiser, network, options, index, network)
    if run.resume():
        run.say(f"{folder.path}: goes on after step {run.step}")
    else:
        run.say(f"{in_words(options.videos)}: {index}")
        try_out(run)
    if options.maps is None and fabric.local_rank == 0:
        make_priors(run)
    fabric.barrier()
    return run


def build_index(fabric: Fabric, options: PretrainOptions) -> VideoIndex:
    """The index of the training videos, built by the first process and then read by the others."""
    cache = options.index_cache or options.out / "videos"
    with fabric.rank_zero_first():
        index = VideoIndex.build(options.videos, cache)
    check_videos(options, index)
    return index


def try_out(run: Run) -> None:
    """Runs a few samples through the model before any long work starts."""
    options, fabric = run.options, run.fabric
    samples = options.batch // (options.accumulate * fabric.world_size)
    dataset = training_set(run, 1)
    few = collate([dataset[(1, 0, i)] for i in range(min(samples, 2))]).to(fabric.device)
    batch = few.augment(options.model.backbone.stride)
    # there are no labels yet; random ones need the same computation
    batch.labels = torch.rand(batch.labels.shape, device=fabric.device)
    run.say(check_step(options, run.network, batch, samples, fabric.device))


def make_priors(run: Run) -> None:
    """Computes the missing initial maps Q: the first process of each node those of its share, on all its threads."""
    how = run.options.bootstrap
    videos = [video.open() for video in Shard(run.fabric.node_rank, run.options.engine.nodes).of(run.index, len)]
    cache_priors(
        videos,
        run.prior,
        how.prior,
        how.stride,
        classifier=how.classifier,
        weights=how.classifier_weights,
        refinement=how.refine if how.binary_prior else "none",
        binary=how.binary_prior,
        workers=run.options.engine.threads,
    )


def train_round(run: Run, number: int, steps: range) -> None:
    """Trains from the current step to the end of a round."""
    todo = range(max(run.step, steps.start), steps.stop)
    if not todo:
        return
    options = run.options
    samples = training_set(run, number)
    require_labels(samples.labels, run.index, options.bootstrap.stride)
    batches = loader(run, samples, number, todo)
    run.model.train()
    total = sum(options.round_steps())
    with run.signals, Log(run.folder, COLUMNS, run.step, total, run.fabric.is_global_zero) as log:
        for step in todo:
            if step == options.warmup.steps > 0:
                run.say(f"step {step}: the warm-up ends, and the weights of the loss change to those of --loss")
            rate = learning_rate_at(options, steps, step)
            values, batch = train_step(run, step, rate, batches)
            run.step = step + 1
            if options.retrieval_every and run.step % options.retrieval_every == 0:
                values |= measure_retrieval(run)
            row = {"step": step, "round": number, "lr": rate, **values}
            log.write(row, f"round {number}  loss {values['total']:.4f}")
            if options.picture_every and run.step % options.picture_every == 0:
                log.draw(run.step, pictures.training_pictures(run.network, batch))  # all processes take part
            if run.step == steps.stop:
                write_weights(run, number)
            run.end_step(run.step == steps.stop or run.step % options.save_every == 0, total, round=number)


def measure_retrieval(run: Run) -> dict[str, float]:
    """Retrieval scores of clips of the training videos by pooled r, measured by the first process."""
    if not run.fabric.is_global_zero:
        return {}
    count = min(RETRIEVAL_VIDEOS, len(run.index))
    chosen = [run.index[(2 * k + 1) * len(run.index) // (2 * count)].open() for k in range(count)]
    with run.fabric.autocast():
        found = retrieval(run.network, chosen)
    return {"retrieval_recall": found.recall, "retrieval_precision": found.precision}


def train_step(run: Run, step: int, rate: float, batches: Iterator[RawBatch]) -> tuple[dict[str, float], Batch]:
    """One optimiser step: forward and backward passes of the parts of the batch, then the update.

    Returns:
        The losses and diagnostics, averaged over parts and processes, with the gradient's norm and, at every
        `share_every`-th step, each term's share of the gradient; and the last part.

    Raises:
        RunError: the loss or the gradient is not finite; the message names the videos of the batch.
    """
    options = run.options
    torch.manual_seed(int(np.random.SeedSequence([options.seed, step]).generate_state(1)[0]))
    weights = options.warmup.loss if step < options.warmup.steps else options.loss
    shares = bool(options.share_every) and step % options.share_every == 0
    seen: list[Batch] = []

    def losses_of(raw: RawBatch) -> Mapping[str, Tensor]:
        seen[:] = [raw.to(run.fabric.device).augment(options.model.backbone.stride)]
        losses: Mapping[str, Tensor] = run.model(seen[0], weights, shares)
        return losses

    values = run.take_step(batches, options.accumulate, losses_of, lambda raw: raw.names, rate, options.optimiser.clip)
    name_faint_terms(run, step, values)
    return values, seen[0]


def name_faint_terms(run: Run, step: int, values: dict[str, float]) -> None:
    """Reports, once per term, terms with a negligible share of the gradient."""
    shares = {name.removeprefix("share_"): value for name, value in values.items() if name.startswith("share_")}
    for term, share in shares.items():
        if share < FAINT and term not in run.faint:
            run.faint.add(term)
            run.say(
                f"step {step}: the term {term!r} has {share:.2%} of the trunk's gradient, less than {FAINT:.0%}, and "
                f"teaches next to nothing; give --loss.{term} more, or 0"
            )


def learning_rate_at(options: PretrainOptions, steps: range, step: int) -> float:
    """The learning rate of a step in a round."""
    span = steps if options.schedule.each_round else range(sum(options.round_steps()))
    return learning_rate(step, span.start, span.stop, options.optimiser.lr, options.schedule)


def training_set(run: Run, number: int) -> TrainingSamples:
    """The samples of a round."""
    options = run.options
    labels = label_weights(run.prior, run.folder.labels, number, options.bootstrap)
    return TrainingSamples(run.index, labels, options.sample, options.batch, options.seed, options.bootstrap.stride)


def loader(run: Run, samples: TrainingSamples, number: int, steps: range) -> Iterator[RawBatch]:
    """The batches of this process for the given steps of a round."""
    options = run.options
    return run.batches(samples, collate, (number, steps, options.batch, options.accumulate), options.workers)


def renew_labels(run: Run, number: int) -> None:
    """Makes the labels of the next round with the model of this one; each process labels its share of the videos."""
    options, fabric = run.options, run.fabric
    how = Relabelling(
        stride=options.bootstrap.stride,
        references=options.sample.abstract - 1,
        size=options.sample.size,
        squeeze=options.sample.squeeze,
        refinement=options.bootstrap.refine,
        binary=options.bootstrap.binary,
    )
    mine = Shard(fabric.global_rank, fabric.world_size).of(run.index, len)
    with fabric.autocast():
        relabel(run.network, mine, run.prior, run.folder.labels / f"round{number}", how, fabric.device)
    fabric.barrier()


def write_weights(run: Run, number: int) -> None:
    """Writes `phi.safetensors` with its provenance, from the first process."""
    if not run.fabric.is_global_zero:
        return
    clips = ", ".join(own_name(path) for path in roots_of(run.options.videos))
    metadata = {
        "training": f"{len(run.index)} videos, {run.index.frames} frames without labels ({clips})",
        **provenance(run.options, run.step),
        "round": str(number),
        "temperature": f"{run.network.temperature.item():.6g}",
    }
    save_weights(run.folder.weights, run.network, metadata)
