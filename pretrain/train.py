"""Unlabeled video in, phi out: setup -> round -> step (MuG Sec. 3.1, 3.2)."""

from __future__ import annotations

import datetime
import json
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from mug.checkpoint import load_torchvision, save_weights
from mug.command.preflight import preflight
from mug.errors import RunError
from mug.model import Batch, LossWeights, MuG
from mug.retrieval import retrieval
from mug.run.checkpoints import Checkpoints
from mug.run.engine import launch
from mug.run.folder import RunFolder, claim, commit_of, to_plain
from mug.run.log import MetricsLog, ProgressLine, open_events
from mug.run.optimise import KeyBatches, boundaries, build_optimiser, learning_rate, set_learning_rate
from mug.shares import FAINT
from pretrain import pictures
from pretrain.bootstrap import Relabelling, label_weights, relabel, require_labels
from pretrain.dataset import RawBatch, TrainingSamples, collate
from pretrain.options import FREE_KEYS, PretrainOptions, check
from pretrain.preflight import check_step, check_videos
from pretrain.prior_cache import cache_priors
from pretrain.videos import VideoIndex, in_words, roots_of

if TYPE_CHECKING:
    from lightning.fabric import Fabric

PLACES = ("videos", "out", "labels", "index_cache", "initial")
"""Options that name folders of one machine: weights travel, so they do not say them."""

COLUMNS = (
    "step", "round", "lr", "total", "frame", "readout", "short", "short_error_px", "long", "inlier_share", "video",
    "instance_accuracy", "warp", "warp_geometry", "warp_matching", "temperature", "grad_norm",
    *(f"share_{term}" for term in vars(LossWeights())), "retrieval_recall", "retrieval_precision",
)  # fmt: skip
"""Of `metrics.csv`; a term that is switched off, or a step that is not measured, leaves a place empty."""

RETRIEVAL_VIDEOS = 100
"""Videos that retrieval looks at; with more, as many evenly chosen ones. They take about a minute on one core."""


@dataclass
class Run:
    """All that a run in progress holds."""

    options: PretrainOptions
    folder: RunFolder
    fabric: Fabric
    index: VideoIndex
    network: MuG
    """The model itself."""
    model: Any
    """The same as the engine wraps it."""
    optimiser: Any
    step: int
    """Steps done."""
    faint: set[str] = field(default_factory=set)
    """Terms that were named because they teach next to nothing."""

    @property
    def rounds(self) -> list[range]:
        """The steps of each round."""
        return boundaries(self.options.round_steps())

    @property
    def prior(self) -> Path:
        """Folder of the initial maps Q."""
        return self.options.labels or self.options.bootstrap.cache or self.folder.labels / "prior"

    def say(self, text: str) -> None:
        """Tells the person who waits, once."""
        if self.fabric.is_global_zero:
            print(text, file=sys.stderr, flush=True)


def pretrain(options: PretrainOptions) -> None:
    """Learns phi from unlabeled video, in rounds; a run that was stopped goes on where it was, exactly.

    Writes `phi.safetensors`, `metrics.csv`, `labels/`, `pictures/`, `checkpoints/` and TensorBoard events to the run's
    folder.

    Raises:
        InputError: options, videos or a folder that cannot be used.
        RunError: a loss became something that is no number.
    """
    check(options)
    preflight(options)
    folder = claim(options, FREE_KEYS)
    total = sum(options.round_steps())
    if Checkpoints(folder.checkpoints).latest_step() == total and folder.weights.is_file():
        print(f"{folder.path}: this run is finished; its weights are {folder.weights}", file=sys.stderr)
        return
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
    torch.manual_seed(options.seed)
    # convolutions take a fifth less of a step in this order of memory, on processors with bfloat16 units
    network: MuG = MuG(options.model).to(memory_format=torch.channels_last)
    if options.initial:
        load_torchvision(network.phi, options.initial)
    model, optimiser = fabric.setup(network, build_optimiser(network, options.optimiser))
    run = Run(options, folder, fabric, index, network, model, optimiser, step=0)
    state = Checkpoints(folder.checkpoints).load()
    if state:
        network.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        run.step = state["step"]
        run.say(f"{folder.path}: goes on after step {run.step}")
    else:
        run.say(f"{in_words(options.videos)}: {index}")
        try_out(run)
    if options.labels is None and fabric.is_global_zero:
        make_priors(run)
    fabric.barrier()
    return run


def build_index(fabric: Fabric, options: PretrainOptions) -> VideoIndex:
    """The index of the training videos, made by the first process and then read by the others."""
    cache = options.index_cache or options.out / "videos"
    with fabric.rank_zero_first():
        index = VideoIndex.build(options.videos, cache)
    check_videos(options, index)
    return index


def try_out(run: Run) -> None:
    """Sends a few samples through the model before anything long begins."""
    options, fabric = run.options, run.fabric
    samples = options.batch // (options.accumulate * fabric.world_size)
    dataset = training_set(run, 1)
    few = collate([dataset[(1, 0, i)] for i in range(min(samples, 2))]).to(fabric.device)
    batch = few.augment(options.model.backbone.stride)
    # without labels there is nothing to learn yet, but the same is computed
    batch.labels = torch.rand(batch.labels.shape, device=fabric.device)
    run.say(check_step(options, run.network, batch, samples, fabric.device))


def make_priors(run: Run) -> None:
    """Computes the initial maps Q that are not there yet, on all cores."""
    how = run.options.bootstrap
    videos = [video.open() for video in run.index]
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
    """Trains from where the run stands to the end of a round."""
    todo = range(max(run.step, steps.start), steps.stop)
    if not todo:
        return
    options = run.options
    samples = training_set(run, number)
    require_labels(samples.labels, run.index, options.bootstrap.stride)
    batches = loader(run, samples, number, todo)
    run.model.train()
    with Log(run) as log:
        for step in todo:
            began = time.perf_counter()
            rate = learning_rate_at(options, steps, step)
            values, batch = train_step(run, step, rate, batches)
            run.step = step + 1
            if options.retrieval_every and run.step % options.retrieval_every == 0:
                values |= measure_retrieval(run)
            log.write({"step": step, "round": number, "lr": rate, **values}, time.perf_counter() - began)
            if options.picture_every and run.step % options.picture_every == 0:
                log.draw(run, batch)
            if run.step == steps.stop:
                write_weights(run, number)
            if run.step == steps.stop or run.step % options.save_every == 0:
                save(run, number)


def measure_retrieval(run: Run) -> dict[str, float]:
    """How well clips of the training videos find each other by pooled r, measured by the first process."""
    if not run.fabric.is_global_zero:
        return {}
    count = min(RETRIEVAL_VIDEOS, len(run.index))
    chosen = [run.index[(2 * k + 1) * len(run.index) // (2 * count)].open() for k in range(count)]
    with run.fabric.autocast():
        found = retrieval(run.network, chosen)
    return {"retrieval_recall": found.recall, "retrieval_precision": found.precision}


def train_step(run: Run, step: int, rate: float, batches: Iterator[RawBatch]) -> tuple[dict[str, float], Batch]:
    """One step of the optimiser: the parts of the batch forward and back, then the weights.

    Returns:
        The losses and diagnostics, averaged over parts and processes, with the gradient's norm and, at every
        `share_every`th step, each term's share of the gradient; the last part.

    Raises:
        RunError: the loss or the gradient is no number; the videos of the batch are named.
    """
    options, fabric = run.options, run.fabric
    torch.manual_seed(int(np.random.SeedSequence([options.seed, step]).generate_state(1)[0]))
    weights = options.warmup.weights if step < options.warmup.steps else options.weights
    set_learning_rate(run.optimiser, rate)
    sums: dict[str, Tensor] = {}
    names: list[str] = []
    shares = bool(options.share_every) and step % options.share_every == 0
    for part in range(options.accumulate):
        batch = next(batches).to(fabric.device).augment(options.model.backbone.stride)
        names += batch.names
        with fabric.no_backward_sync(run.model, enabled=part + 1 < options.accumulate):
            losses = run.model(batch, weights, shares)
            fabric.backward(losses["total"] / options.accumulate)
        for name, loss in losses.items():
            sums[name] = sums.get(name, torch.zeros((), device=fabric.device)) + loss.detach().float()
    limit = options.optimiser.clip or math.inf
    norm: Any = fabric.clip_gradients(run.model, run.optimiser, max_norm=limit, error_if_nonfinite=False)
    values = _means(fabric, sums, options.accumulate) | {"grad_norm": float(norm)}
    if not (math.isfinite(values["total"]) and math.isfinite(values["grad_norm"])):
        raise RunError(_what_went_wrong(fabric, step, values, names))
    run.optimiser.step()
    run.optimiser.zero_grad(set_to_none=True)
    name_faint_terms(run, step, values)
    return values, batch


def name_faint_terms(run: Run, step: int, values: dict[str, float]) -> None:
    """Says once of each term that it is on and teaches next to nothing."""
    shares = {name.removeprefix("share_"): value for name, value in values.items() if name.startswith("share_")}
    for term, share in shares.items():
        if share < FAINT and term not in run.faint:
            run.faint.add(term)
            run.say(
                f"step {step}: the term {term!r} has {share:.2%} of the trunk's gradient, less than {FAINT:.0%}, and "
                f"teaches next to nothing; give --weights.{term} more, or 0"
            )


def _means(fabric: Fabric, sums: dict[str, Tensor], parts: int) -> dict[str, float]:
    """The values averaged over parts and processes, read from the device in one go."""
    means: Any = fabric.all_reduce(torch.stack(list(sums.values())) / parts, reduce_op="mean")
    return dict(zip(sums, means.tolist(), strict=True))


def _what_went_wrong(fabric: Fabric, step: int, values: dict[str, float], names: list[str]) -> str:
    """One line with what is no number and the videos of the batch, those of all processes."""
    if fabric.world_size > 1:
        gathered: list[Any] = [None] * fabric.world_size
        torch.distributed.all_gather_object(gathered, names)
        names = [name for part in gathered for name in part]
    bad = ", ".join(f"{name} is {value}" for name, value in values.items() if not math.isfinite(value))
    return f"step {step}: {bad}, so the run stops; the batch holds {', '.join(names)}"


def learning_rate_at(options: PretrainOptions, steps: range, step: int) -> float:
    """The learning rate of a step of a round."""
    span = steps if options.schedule.each_round else range(sum(options.round_steps()))
    return learning_rate(step, span.start, span.stop, options.optimiser.lr, options.schedule)


def training_set(run: Run, number: int) -> TrainingSamples:
    """The samples of a round."""
    options = run.options
    labels = label_weights(run.prior, run.folder.labels, number, options.bootstrap)
    return TrainingSamples(run.index, labels, options.sample, options.batch, options.seed, options.bootstrap.stride)


def loader(run: Run, samples: TrainingSamples, number: int, steps: range) -> Iterator[RawBatch]:
    """The batches of this process for some steps of a round; they depend on nothing but seed, round and step."""
    options, fabric = run.options, run.fabric
    keys = KeyBatches(number, steps, options.batch, options.accumulate, fabric.global_rank, fabric.world_size)
    return iter(
        DataLoader(
            samples,
            batch_sampler=keys,
            collate_fn=collate,
            num_workers=options.num_workers,
            worker_init_fn=quiet_worker,
            pin_memory=fabric.device.type == "cuda",
            prefetch_factor=4 if options.num_workers else None,
        )
    )


def quiet_worker(_: int) -> None:
    """A worker reads with one thread; the cores belong to the training process."""
    torch.set_num_threads(1)


def renew_labels(run: Run, number: int) -> None:
    """Lets the model of a round make the labels of the next one, each process those of its share of the videos."""
    options, fabric = run.options, run.fabric
    how = Relabelling(
        stride=options.bootstrap.stride,
        references=options.sample.abstract - 1,
        size=options.sample.size,
        squeeze=options.sample.squeeze,
        refinement=options.bootstrap.refine,
        binary=options.bootstrap.binary,
    )
    mine = run.index.videos[fabric.global_rank :: fabric.world_size]
    with fabric.autocast():
        relabel(run.network, mine, run.prior, run.folder.labels / f"round{number}", how, fabric.device)
    fabric.barrier()


def save(run: Run, number: int) -> None:
    """Writes a checkpoint, from the first process."""
    if run.fabric.is_global_zero:
        state = {"model": run.network.state_dict(), "optimiser": run.optimiser.state_dict()}
        Checkpoints(run.folder.checkpoints).save(run.step, {"step": run.step, "round": number, **state})


def write_weights(run: Run, number: int) -> None:
    """Writes `phi.safetensors` and what it was trained on, from the first process."""
    if not run.fabric.is_global_zero:
        return
    clips = ", ".join(path.resolve().name for path in roots_of(run.options.videos))
    metadata = {
        "training": f"{len(run.index)} videos, {run.index.frames} frames without labels ({clips})",
        "options": json.dumps({k: v for k, v in to_plain(run.options).items() if k not in PLACES}),
        "steps": str(run.step),
        "round": str(number),
        "date": datetime.date.today().isoformat(),
        "commit": commit_of(Path(__file__).parent.parent),
        "temperature": f"{run.network.temperature.item():.6g}",
    }
    save_weights(run.folder.weights, run.network, metadata)


class Log:
    """What a round leaves to look at: `metrics.csv`, `timing.csv`, TensorBoard events, pictures, the progress line."""

    def __init__(self, run: Run) -> None:
        self._folder = run.folder
        self._on = run.fabric.is_global_zero
        if self._on:
            self._metrics = MetricsLog(run.folder.metrics, COLUMNS, run.step)
            self._timing = MetricsLog(run.folder.timing, ("step", "seconds"), run.step)
            self._events = open_events(run.folder.path / "events", run.step)
            self._line = ProgressLine(sum(run.options.round_steps()), run.step)

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        if self._on:
            for part in (self._metrics, self._timing, self._line, self._events):
                if part is not None:
                    part.close()

    def write(self, row: dict[str, Any], seconds: float) -> None:
        """Adds a step."""
        if not self._on:
            return
        self._metrics.write(row)
        self._timing.write({"step": row["step"], "seconds": seconds})
        if self._events is not None:
            for name, value in row.items():
                if name != "step":
                    self._events.add_scalar(name, value, row["step"])
        self._line.update(row["step"] + 1, f"round {row['round']}  loss {row['total']:.4f}")

    def draw(self, run: Run, batch: Batch) -> None:
        """Adds pictures of a batch; all processes take part."""
        drawn = pictures.draw(run.network, batch)
        if not self._on:
            return
        pictures.write(self._folder.pictures, run.step, drawn)
        if self._events is not None:
            for name, picture in drawn.items():
                self._events.add_image(name, picture.clamp(0, 1), run.step)
