"""`mug finetune`: trains a head on annotated, or self-labelled, video: setup -> step (AGNN Sec. 3.3, 4.1.1)."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from agnn_head.calibration import to_probabilities
from agnn_head.checkpoint import load_deeplab, load_phi, save_weights
from agnn_head.loss import weighted_bce
from agnn_head.model import AGNN, AGNNConfig
from downstream.data.dataset import Kind
from downstream.training.annotated import (
    Annotated,
    check_stills,
    foreground_shares,
    hold_out,
    open_annotated,
    saliency_images,
)
from downstream.training.pictures import draw
from downstream.training.pseudo import pseudo_annotations
from downstream.training.samples import SampleOptions, Samples, collate, grid_target
from mug.checkpoint import packaged_weights
from mug.errors import InputError
from mug.norm import BatchNorm
from mug.run.engine import Engine, launch
from mug.run.folder import RunFolder, claim, write_text
from mug.run.log import Log
from mug.run.loop import Training, is_finished, provenance
from mug.run.optimise import OptimiserOptions, ScheduleOptions, build_optimiser, learning_rate

if TYPE_CHECKING:
    from lightning.fabric import Fabric

FREE_KEYS = ("out", "num_workers", "save_every", "engine.threads")
"""What may change when a run goes on: nothing here moves a loss."""

COLUMNS = ("step", "lr", "still", "video", "iou", "grad_norm")
"""Of `metrics.csv`: the loss of a step on still images or on video, and how well its masks overlap the truth."""

PLACES = ("data", "out", "weights", "stills")
"""Options that name files of one machine: weights travel, so they do not say them."""


@dataclass
class FinetuneOptions:
    """What `mug finetune` is told."""

    system: Literal["agnn"]
    """What is trained: `agnn`."""
    data: Path
    """An annotated dataset of videos (DAVIS, YouTube-VOS, FBMS-59, ...); PASCAL VOC or folders of image groups for
    co-segmentation; with `--labels pseudo` any videos."""
    out: Path
    """Folder of the run; a run that lies there already goes on where it stopped."""
    dataset: Kind | None = None
    """Which dataset of videos `data` is; recognised by its layout when not given."""
    split: str | None = None
    """The part of that dataset to train on (`2017/train`)."""
    weights: Path | None = None
    """What the embedding starts from: MuG's phi (the weights that come with the package when not given), or
    torchvision's DeepLabV3 where the model is built on it."""
    scratch: bool = False
    """Start from random numbers instead."""
    labels: Literal["annotations", "pseudo"] = "annotations"
    """`pseudo`: no annotation is read; MuG's own masks of the videos are learned from."""
    pseudo_frames: int = 16
    """Successive frames from the middle of each video that get such masks."""
    stills: list[Path] = field(default_factory=list)
    """Data sets of salient objects in still images (MSRA10K, DUT-OMRON, DUTS); every other step trains on them."""
    hold: int = 0
    """Sequences kept out of training for testing, picked by a hash of their names and written to `held_out.txt`."""
    model: AGNNConfig = field(default_factory=AGNNConfig)
    """The network."""
    sample: SampleOptions = field(default_factory=SampleOptions)
    """What a step sees."""
    carry: int = 0
    """Most graphs that a node's state may have come through, drawn anew each step, before the one that is learned
    from. Co-segmentation carries states from graph to graph (Sec. 4.2.1): one that it never met in training drifts."""
    freeze_norm: bool = True
    """Whether the trunk keeps its batch norm as it was pretrained; with `--scratch` it learns it."""
    trunk_rate: float = 0.1
    """Learning rate of the trunk, as a factor. With 0 it stays as it was pretrained; one that begins at random
    (`--scratch`) then learns at 0.1."""
    head_rate: float = 1.0
    """Learning rate of the graph and the readout, as a factor; that of the embedding's pyramid is 1."""
    calibrate: bool = True
    """Whether the readout's bias is moved in the end, so that maps are probabilities: the loss alone takes every object
    for half of its frame. The maps of a video are then cut where the mask is expected to overlap the object best;
    without, as in the paper, at 0.5."""
    optimiser: OptimiserOptions = field(default_factory=lambda: OptimiserOptions(lr=2.5e-4))
    """How the weights are moved."""
    schedule: ScheduleOptions = field(default_factory=lambda: ScheduleOptions(kind="poly"))
    """How the learning rate changes."""
    steps: int = 20000
    """Steps of training."""
    engine: Engine = field(default_factory=Engine)
    """Where and how it is computed."""
    num_workers: int = 2
    """Processes that read frames, for each training process; 0 reads in the training process."""
    save_every: int = 500
    """Steps between checkpoints."""
    seed: int = 0
    """Seed of everything random."""

    def require(self) -> None:
        """Asks for the weights that the head starts from and for the still images, before masks are made of videos."""
        if not self.scratch:
            start(AGNN(self.model), self)
        for path in self.stills:
            check_stills(saliency_images(path))


def check(options: FinetuneOptions) -> None:
    """Refuses numbers that cannot be trained with.

    Raises:
        InputError: naming the option and what would do.
    """
    processes = options.engine.devices * options.engine.nodes
    if options.sample.videos % processes:
        raise InputError(
            f"sample.videos: {options.sample.videos} cannot be shared evenly by {processes} processes; give a multiple"
        )
    for name in ("steps", "save_every", "pseudo_frames"):
        if getattr(options, name) < 1:
            raise InputError(f"{name}: {getattr(options, name)} is too few; give 1 or more")
    for name in ("hold", "num_workers", "trunk_rate", "head_rate", "carry"):
        if getattr(options, name) < 0:
            raise InputError(f"{name}: {getattr(options, name)} is negative; give 0 or more")


@dataclass
class Run(Training):
    """All that a run in progress holds."""

    options: FinetuneOptions
    samples: Samples
    network: AGNN


def finetune(options: FinetuneOptions) -> None:
    """Trains a head on top of phi; a run that was stopped goes on where it was, exactly.

    Writes `agnn.safetensors`, `metrics.csv`, `pictures/` and `checkpoints/` to the run's folder.

    Raises:
        InputError: options, data, weights or a folder that cannot be used.
        RunError: a loss became something that is no number.
    """
    check(options)
    folder = claim(options, FREE_KEYS)
    if is_finished(folder, options.steps, weights_of(folder)):
        return
    fabric = launch(options.engine)
    with fabric.rank_zero_first():
        sources = training_sources(options, folder, fabric.is_global_zero)
    run = setup(options, folder, fabric, sources)
    train(run)
    run.say(f"{folder.path}: finished after {options.steps} steps; the weights are {weights_of(folder)}")


def weights_of(folder: RunFolder) -> Path:
    """Where a run leaves its weights."""
    return folder.path / "agnn.safetensors"


def setup(options: FinetuneOptions, folder: RunFolder, fabric: Fabric, sources: Sequence[Annotated]) -> Run:
    """Builds the model and loads its state."""
    samples = Samples(sources, [saliency_images(path) for path in options.stills], options.sample, options.seed)
    torch.manual_seed(options.seed)
    network = AGNN(options.model)
    if not options.scratch:
        start(network, options)
    trunk_rate = options.trunk_rate
    if trunk_rate == 0 and options.scratch:
        trunk_rate = FinetuneOptions.trunk_rate
    if trunk_rate == 0:
        network.embedding.trunk.requires_grad_(False)  # and nothing is kept for its gradient
    rates = {"network.embedding.trunk.": trunk_rate, "network.embedding.": 1.0, "network.": options.head_rate}
    trainee = Trainee(network, options.freeze_norm and not options.scratch)
    model, optimiser = fabric.setup(trainee, build_optimiser(trainee, options.optimiser, rates))
    run = Run(folder, fabric, model, optimiser, network, options, samples, network)
    run.resume()
    return run


def training_sources(options: FinetuneOptions, folder: RunFolder, tell: bool) -> list[Annotated]:
    """The videos or groups to train on, those held out taken away and written down."""
    root = options.data
    if options.labels == "pseudo":
        teacher = options.weights if options.model.embedding.kind == "phi" else None
        workers = options.engine.threads
        root = pseudo_annotations(root, folder.path / "pseudo", options.pseudo_frames, teacher, workers)
        sources = open_annotated(root)
    else:
        sources = open_annotated(root, options.dataset, options.split)
    held = hold_out([source.name for source in sources], options.hold)
    sources = [source for source in sources if source.name not in held]
    if not sources:
        raise InputError(f"--hold {options.hold}: leaves nothing of {root} to train on; hold out less")
    if held and tell:
        print(f"held out for testing: {', '.join(held)}")
        write_text(folder.path / "held_out.txt", "".join(f"{name}\n" for name in held))
    return sources


def start(network: AGNN, options: FinetuneOptions) -> None:
    """Loads what the embedding starts from."""
    if options.model.embedding.kind == "phi":
        load_phi(network, options.weights or packaged_weights())
    elif options.weights is None:
        raise InputError("--weights: give torchvision's DeepLabV3 as a file, or --scratch")
    else:
        load_deeplab(network, options.weights)


class Trainee(nn.Module):
    """AGNN with its losses.

    Args:
        network: The model.
        freeze_norm: Whether the trunk's batch norm stays as it is.
    """

    def __init__(self, network: AGNN, freeze_norm: bool) -> None:
        super().__init__()
        self.network = network
        self._frozen = [m for m in network.embedding.trunk.modules() if isinstance(m, BatchNorm)] if freeze_norm else []
        for norm in self._frozen:
            norm.requires_grad_(False)

    def train(self, mode: bool = True) -> Trainee:
        """Training mode, but for batch norm that is frozen."""
        super().train(mode)
        for norm in self._frozen:
            norm.eval()
        return self

    def forward(self, frames_bnchw: Tensor, masks_bnhw: Tensor, still: bool, carried: int = 0) -> dict[str, Tensor]:
        """The loss (AGNN Eq. 12) of still images by the embedding's own output, or of videos by the whole graph.

        Args:
            frames_bnchw: uint8 (B, N', 3, S, S).
            masks_bnhw: uint8 (B, N', S, S), 255 void.
            still: Which of the two.
            carried: Graphs that the state of the first node comes through before; without gradient.

        Returns:
            `total`; without gradient `iou` and the `logits` (B * N', 1, h, w).
        """
        frames = frames_bnchw.float() / 255
        network = self.network
        if still:
            logits = network.auxiliary(network.embed(frames.flatten(0, 1)))
        else:
            v_bnchw = network.embed(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
            own_b1chw = carry(network, v_bnchw, carried) if carried else v_bnchw[:, :1]
            state_bnchw = torch.cat([own_b1chw, v_bnchw[:, 1:]], 1)
            logits = network.read(network.propagate(v_bnchw, state_bnchw), v_bnchw).flatten(0, 1)
        target = grid_target(masks_bnhw.flatten(0, 1), (logits.shape[-2], logits.shape[-1]))
        # what this kind of step does not use takes part with a gradient of zero: other processes wait for it
        unused = torch.stack([p.sum() for p in self.parameters() if p.requires_grad]).sum() * 0
        loss = weighted_bce(logits, target) + unused
        logits = logits.detach()
        return {"total": loss, "iou": overlap(logits[:, 0] > 0, target), "logits": logits}


@torch.no_grad()
def carry(network: AGNN, v_bnchw: Tensor, graphs: int) -> Tensor:
    """State (B, 1, C, h, w) of the first node after so many graphs, in each of which the others begin anew.

    Without gradient: what is learned is to go on from such a state.
    """
    own_b1chw = v_bnchw[:, :1]
    for _ in range(graphs):
        own_b1chw = network.propagate(v_bnchw, torch.cat([own_b1chw, v_bnchw[:, 1:]], 1))[:, :1]
    return own_b1chw


def overlap(found_nhw: Tensor, truth_nhw: Tensor) -> Tensor:
    """Mean J of masks (bool) on a grid, cells whose truth is NaN left out; no object and none found counts 1."""
    known = ~truth_nhw.isnan()
    found, there = found_nhw & known, (truth_nhw > 0.5) & known
    both, either = (found & there).sum((1, 2)), (found | there).sum((1, 2))
    return torch.where(either > 0, both / either.clamp(min=1), 1.0).mean()


def train(run: Run) -> None:
    """Trains from where the run stands to its end."""
    options = run.options
    keys = (0, range(run.step, options.steps), options.sample.videos, 1)
    batches = run.batches(run.samples, collate, keys, options.num_workers)
    run.model.train()
    with Log(run.folder, COLUMNS, run.step, options.steps, run.fabric.is_global_zero) as log:
        for step in range(run.step, options.steps):
            rate = learning_rate(step, 0, options.steps, options.optimiser.lr, options.schedule)
            values, batch, logits = train_step(run, step, rate, batches)
            run.step = step + 1
            log.write({"step": step, "lr": rate, **values}, f"J {values['iou']:.3f}")
            if run.step == options.steps or run.step % options.save_every == 0:
                log.draw(run.step, {"masks": draw(batch, logits)})
                save_weights_of(run)
                run.save()


def train_step(
    run: Run, step: int, rate: float, batches: Iterator[dict[str, Any]]
) -> tuple[dict[str, float], dict[str, Any], Tensor]:
    """One step of the optimiser.

    Returns:
        What `metrics.csv` takes, averaged over processes, this process's batch and its logits.

    Raises:
        RunError: the loss or the gradient is no number; the videos of the batch are named.
    """
    still = run.samples.shows_stills(step)
    carried = int(np.random.default_rng([run.options.seed, step, 0]).integers(run.options.carry + 1))
    seen: list[Any] = []

    def losses_of(batch: dict[str, Any]) -> Mapping[str, Tensor]:
        device = run.fabric.device
        losses = dict(run.model(batch["frames"].to(device), batch["masks"].to(device), still, carried))
        seen[:] = [batch, losses.pop("logits")]
        return losses

    values = run.take_step(batches, 1, losses_of, lambda batch: batch["names"], rate, run.options.optimiser.clip)
    values["still" if still else "video"] = values.pop("total")
    return values, seen[0], seen[1]


def save_weights_of(run: Run) -> None:
    """Writes the weights, from the first process."""
    if not run.fabric.is_global_zero:
        return
    metadata = {
        "training": f"{len(run.samples.sources)} videos, labels: {run.options.labels} ({run.options.data.name})",
        **provenance(run.options, PLACES, run.step),
    }
    network = run.network
    if run.options.calibrate and run.step == run.options.steps:
        network = copy.deepcopy(network)
        to_probabilities(network, foreground_shares(run.samples.sources))
        metadata["calibrated"] = "true"
    save_weights(weights_of(run.folder), network, metadata)
