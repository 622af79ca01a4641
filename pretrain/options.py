"""Every choice of a pretraining run; a configuration file is these, written down."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mug.backbone import Phi
from mug.checkpoint import load_torchvision
from mug.errors import InputError
from mug.granularity.short_term import patch_size
from mug.media.refine import Refinement
from mug.model import LossWeights, ModelConfig
from mug.networks.named import IMAGENET
from mug.run.engine import Engine
from mug.run.optimise import OptimiserOptions, ScheduleOptions
from pretrain.prior_cache import CLASSIFIED, Kind, require_binary, require_classifier
from pretrain.sampling import SampleOptions


@dataclass
class WarmupOptions:
    """The first steps, in which kappa and the matching head learn from synthetic warps."""

    steps: int = 0
    """How many there are."""
    weights: LossWeights = field(default_factory=lambda: LossWeights(short=0.0, long=0.0, video=0.0, warp=1.0))
    """What the total loss is made of meanwhile."""


@dataclass
class LabelOptions:
    """Where the foreground maps come from and how they are renewed."""

    prior: Kind = "motion"
    """Kind of the initial maps Q."""
    classifier: str = IMAGENET
    """Of `cam` and `motion-cam`: `imagenet` (the extra of this name brings it), torchvision:NAME or timm:NAME."""
    classifier_weights: Path | None = None
    """State dict of that classifier, where it does not bring its own."""
    stride: int = 4
    """Every so many frames of a video have a map."""
    cache: Path | None = None
    """Folder where initial maps are kept for several runs; `labels/prior` of the run when not given."""
    alpha: float = 0.05
    """Weight in Eq. 15 of the map that is not kept."""
    keep: Literal["prediction", "label"] = "prediction"
    """Which of the two maps of Eq. 15 keeps 1 - alpha: the prediction, as printed, or the label so far."""
    refine: Refinement = "guided"
    """How predictions are sharpened before they become labels."""
    binary: bool = True
    """Whether predictions are cut to 0 or 1 before they become labels, as in Eq. 15."""
    binary_prior: bool = False
    """Whether the initial maps are, too, refined in the same way before: the Q in {0, 1} of Eq. 2 and 15."""


@dataclass
class PretrainOptions:
    """What `mug pretrain` is told."""

    videos: list[Path] | Path
    """Unlabeled video: a folder of clips, a data set in its own layout, or several of these (`--videos A B`)."""
    out: Path
    """Folder of the run; a run that lies there already goes on where it stopped."""
    labels: Path | None = None
    """Folder of initial maps that `mug prior` wrote; computed when not given."""
    index_cache: Path | None = None
    """Folder where frames of video files are unpacked to and the index is kept, for several runs."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """The network."""
    initial: Path | None = None
    """Weights of a torchvision ResNet to start from (a state dict); from scratch when not given, as in the paper."""
    sample: SampleOptions = field(default_factory=SampleOptions)
    """What one sample holds and how it is augmented."""
    bootstrap: LabelOptions = field(default_factory=LabelOptions)
    """The foreground maps and their renewal."""
    optimiser: OptimiserOptions = field(default_factory=OptimiserOptions)
    """How the weights are moved."""
    schedule: ScheduleOptions = field(default_factory=ScheduleOptions)
    """How the learning rate changes."""
    weights: LossWeights = field(default_factory=LossWeights)
    """What the total loss is made of (Eq. 16)."""
    warmup: WarmupOptions = field(default_factory=WarmupOptions)
    """The first steps, on synthetic warps."""
    rounds: int | list[int] = 2
    """Rounds of `steps` steps each, or a list with the steps of each round."""
    steps: int = 10000
    """Steps of a round, where `rounds` is a number."""
    batch: int = 16
    """Videos in a step, over all processes and accumulated parts."""
    accumulate: int = 1
    """Parts that a process works through one after the other in a step."""
    engine: Engine = field(default_factory=Engine)
    """Where and how it is computed."""
    num_workers: int = 2
    """Processes that read frames, for each training process; 0 reads in the training process."""
    save_every: int = 500
    """Steps between checkpoints."""
    picture_every: int = 1000
    """Steps between pictures; 0 for none."""
    share_every: int = 100
    """Steps between measures of the share that each term has of the trunk's gradient; 0 for none."""
    retrieval_every: int = 1000
    """Steps between measures of video retrieval, of a minute or less each; 0 for none."""
    seed: int = 0
    """Seed of everything random."""

    def require(self) -> None:
        """Asks for weights to start from, for initial maps as they should be, or else for their classifier."""
        if self.initial:
            load_torchvision(Phi(self.model.backbone), self.initial)
        if self.labels and self.bootstrap.binary_prior:
            require_binary(self.labels)
        if self.labels is None and self.bootstrap.prior in CLASSIFIED:
            require_classifier(self.bootstrap.classifier, self.bootstrap.classifier_weights)

    def round_steps(self) -> list[int]:
        """The steps of each round."""
        return [self.steps] * self.rounds if isinstance(self.rounds, int) else list(self.rounds)


FREE_KEYS = (
    "out", "num_workers", "save_every", "picture_every", "share_every", "retrieval_every", "index_cache",
    "bootstrap.cache", "engine.threads",
)  # fmt: skip
"""What may change when a run goes on: nothing here moves a loss."""


def check(options: PretrainOptions) -> None:
    """Refuses numbers that cannot be trained with.

    Raises:
        InputError: naming the option and what would do.
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
    # the patch that the short term tracks is a quarter of the frame, and batch norm needs two values to a channel
    cells = -(-patch_size(options.sample.size) // options.model.backbone.stride)
    together = options.batch // options.accumulate
    if together * cells**2 < 2 and (options.weights.short or (options.warmup.steps and options.warmup.weights.short)):
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
        ("retrieval_every", options.retrieval_every), ("num_workers", options.num_workers),
        ("schedule.warmup", options.schedule.warmup), ("warmup.steps", options.warmup.steps),
    ):  # fmt: skip
        if value < 0:
            raise InputError(f"{name}: {value} is negative; give 0 or more")
    if options.optimiser.lr <= 0:
        raise InputError(f"optimiser.lr: {options.optimiser.lr} moves nothing; give a positive rate")
    if not 0 <= options.bootstrap.alpha <= 1:
        raise InputError(f"bootstrap.alpha: {options.bootstrap.alpha} is no share; give 0 to 1")
