"""Options of `mug prior` and `mug pretrain`, as set in configuration files; importing this module loads no library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mug.media.refine import Refinement
from mug.networks.names import IMAGENET
from mug.options import LossWeights, ModelConfig
from mug.run.options import Engine, OptimiserOptions, ScheduleOptions
from pretrain.sampling import SampleOptions

Kind = Literal["motion", "saliency", "manifold-ranking", "cam", "motion-cam"]

CLASSIFIED = ("cam", "motion-cam")
"""Kinds that use a classifier: weakly supervised."""
_OF_CLASSIFIED = f"maps of {' and '.join(CLASSIFIED)} alone ask a classifier"


@dataclass
class WarmupOptions:
    """Warm-up, in which kappa and the matching head learn from synthetic warps."""

    steps: int = 0
    """Number of steps."""
    loss: LossWeights = field(default_factory=lambda: LossWeights(short=0.0, long=0.0, video=0.0, warp=1.0))
    """Weights of the loss terms during the warm-up."""


@dataclass
class LabelOptions:
    """Initial foreground maps and their renewal between rounds."""

    prior: Kind = "motion"
    """Kind of the initial maps Q."""
    classifier: str = IMAGENET
    """Classifier for `cam` and `motion-cam`: `imagenet` (from the extra `imagenet`), torchvision:NAME or timm:NAME."""
    classifier_weights: Path | None = None
    """State dict of that classifier; none for `imagenet`, which has its own."""
    stride: int = 4
    """Every `stride`-th frame of a video has a map."""
    cache: Path | None = None
    """Folder for initial maps shared by several runs. Default: `labels/prior` of the run."""
    alpha: float = 0.05
    """Weight in Eq. 15 of the map that is not kept."""
    keep: Literal["prediction", "label"] = "prediction"
    """Map that has the weight 1 - alpha in Eq. 15: the prediction, as printed, or the initial map, `label`."""
    refine: Refinement = "guided"
    """Refinement of predictions before they become labels."""
    binary: bool = True
    """Whether predictions are thresholded to 0 or 1 before they become labels, as in Eq. 15."""
    binary_prior: bool = False
    """Whether the initial maps are refined and thresholded in the same way: the Q in {0, 1} of Eq. 2 and 15."""


@dataclass
class PretrainOptions:
    """Options of `mug pretrain`."""

    videos: list[Path] | Path
    """Unlabeled video: a folder of clips, a data set in its own layout, or several of these (`--videos A B`)."""
    out: Path
    """Folder of the run; an existing run is resumed."""
    maps: Path | None = None
    """Folder of initial maps written by `mug prior`; computed if not given."""
    index_cache: Path | None = None
    """Folder for the index and the unpacked frames of video files, shared by several runs."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """The network."""
    weights: Path | None = None
    """Initial weights: the state dict of a torchvision ResNet. Default: from scratch, as in the paper."""
    sample: SampleOptions = field(default_factory=SampleOptions)
    """Contents and augmentation of a sample."""
    bootstrap: LabelOptions = field(default_factory=LabelOptions)
    """The foreground maps and their renewal."""
    optimiser: OptimiserOptions = field(default_factory=OptimiserOptions)
    """Optimiser."""
    schedule: ScheduleOptions = field(default_factory=ScheduleOptions)
    """Learning rate schedule."""
    loss: LossWeights = field(default_factory=LossWeights)
    """Weights of the loss terms (Eq. 16)."""
    warmup: WarmupOptions = field(default_factory=WarmupOptions)
    """Warm-up on synthetic warps."""
    rounds: int | list[int] = 2
    """Number of rounds of `steps` steps each, or a list with the steps of each round."""
    steps: int = 10000
    """Steps per round, if `rounds` is a number."""
    batch: int = 16
    """Videos per step, over all processes and accumulated parts."""
    accumulate: int = 1
    """Parts per process and step over which gradients are accumulated."""
    engine: Engine = field(default_factory=Engine)
    """Device, precision and processes."""
    workers: int = 2
    """Frame-reading processes per training process; with 0 the training process reads."""
    save_every: int = 500
    """Steps between checkpoints."""
    picture_every: int = 1000
    """Steps between pictures; 0 for none."""
    share_every: int = 100
    """Steps between measurements of each term's share of the trunk's gradient; 0 for none."""
    retrieval_every: int = 1000
    """Steps between measurements of video retrieval, which take up to a minute each; 0 for none."""
    seed: int = 0
    """Random seed."""

    def require(self) -> None:
        """Checks the initial weights, and either the given initial maps or the classifier to compute them."""
        from mug.backbone import Phi
        from mug.checkpoint import load_torchvision
        from pretrain.prior_cache import require_binary, require_classifier

        if self.weights:
            load_torchvision(Phi(self.model.backbone), self.weights)
        if self.maps and self.bootstrap.binary_prior:
            require_binary(self.maps)
        if self.maps is None and self.bootstrap.prior in CLASSIFIED:
            require_classifier(self.bootstrap.classifier, self.bootstrap.classifier_weights)

    def unused(self) -> Mapping[str, str]:
        """See `mug.command.options.parse`."""
        unused: dict[str, str] = {}
        if self.bootstrap.prior not in CLASSIFIED:
            unused |= dict.fromkeys(("bootstrap.classifier", "bootstrap.classifier_weights"), _OF_CLASSIFIED)
        if not self.warmup.steps:
            unused["warmup.loss"] = "there are no --warmup.steps"
        if isinstance(self.rounds, list):
            unused["steps"] = "--rounds lists the steps of each round"
        return unused

    def round_steps(self) -> list[int]:
        """The steps of each round."""
        return [self.steps] * self.rounds if isinstance(self.rounds, int) else list(self.rounds)


FREE_KEYS = (
    "out", "workers", "save_every", "picture_every", "share_every", "retrieval_every", "index_cache",
    "bootstrap.cache", "engine.threads",
)  # fmt: skip
"""Options that may change when a run is resumed: they do not affect the losses."""


@dataclass
class PriorOptions:
    """Options of `mug prior`."""

    videos: list[Path] | Path
    """A video, a folder of videos, a data set in its own layout, or several of these, as for `mug pretrain`."""
    out: Path
    """Folder for the maps, OUT/VIDEO/FRAME.png; existing maps are kept."""
    kind: Kind = "motion"
    """Kind of the maps. cam and motion-cam use a classifier; the others need no labels. The paper uses
    manifold-ranking and cam."""
    stride: int = 1
    """Every `stride`-th frame of a video gets a map."""
    classifier: str = IMAGENET
    """Classifier for cam and motion-cam: `imagenet` (from the extra `imagenet`), torchvision:NAME or timm:NAME."""
    classifier_weights: Path | None = None
    """State dict of that classifier; none for `imagenet`, which has its own."""
    refine: Refinement = "none"
    """Refinement of each map with its frame: `guided` (fast), `crf` (extra `crf`) or `none`."""
    binary: bool = False
    """Whether to threshold the maps at one half, after refinement: the paper's Q in {0, 1}."""
    index_cache: Path | None = None
    """Folder for the unpacked frames of video files, shared by several uses. Default: OUT/.videos."""
    shard: str | None = None
    """Part of the videos to do, i/n (`2/8`); the n parts may run at once and meet in OUT. Default: the rank given by
    torchrun or SLURM, or all."""
    overwrite: bool = False
    """Whether to recompute existing maps."""
    workers: int | None = None
    """Number of processes. Default: one per core."""

    def unused(self) -> Mapping[str, str]:
        """See `mug.command.options.parse`."""
        return {} if self.kind in CLASSIFIED else dict.fromkeys(("classifier", "classifier_weights"), _OF_CLASSIFIED)
