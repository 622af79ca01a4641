"""Every choice of `mug prior` and `mug pretrain`: a configuration file is these, written down. Loads no library."""

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
"""Kinds that ask a classifier: weakly supervised."""
_OF_CLASSIFIED = f"maps of {' and '.join(CLASSIFIED)} alone ask a classifier"


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
        from mug.backbone import Phi
        from mug.checkpoint import load_torchvision
        from pretrain.prior_cache import require_binary, require_classifier

        if self.initial:
            load_torchvision(Phi(self.model.backbone), self.initial)
        if self.labels and self.bootstrap.binary_prior:
            require_binary(self.labels)
        if self.labels is None and self.bootstrap.prior in CLASSIFIED:
            require_classifier(self.bootstrap.classifier, self.bootstrap.classifier_weights)

    def unused(self) -> Mapping[str, str]:
        """See `mug.command.options.parse`."""
        unused: dict[str, str] = {}
        if self.bootstrap.prior not in CLASSIFIED:
            unused |= dict.fromkeys(("bootstrap.classifier", "bootstrap.classifier_weights"), _OF_CLASSIFIED)
        if not self.warmup.steps:
            unused["warmup.weights"] = "there are no --warmup.steps"
        if isinstance(self.rounds, list):
            unused["steps"] = "--rounds lists the steps of each round"
        return unused

    def round_steps(self) -> list[int]:
        """The steps of each round."""
        return [self.steps] * self.rounds if isinstance(self.rounds, int) else list(self.rounds)


FREE_KEYS = (
    "out", "num_workers", "save_every", "picture_every", "share_every", "retrieval_every", "index_cache",
    "bootstrap.cache", "engine.threads",
)  # fmt: skip
"""What may change when a run goes on: nothing here moves a loss."""


@dataclass
class PriorOptions:
    """What `mug prior` is told."""

    videos: list[Path] | Path
    """A video, a folder of videos, a data set in its own layout, or several of these: whatever `mug pretrain` reads."""
    out: Path
    """Folder for the maps, OUT/VIDEO/FRAME.png; maps that lie there already are kept."""
    kind: Kind = "motion"
    """All but cam and motion-cam, which ask a classifier, need no label; the paper has manifold-ranking and cam."""
    stride: int = 1
    """Every so many frames of a video get a map."""
    classifier: str = IMAGENET
    """Of cam and motion-cam: `imagenet` (the extra of this name brings it), torchvision:NAME or timm:NAME."""
    weights: Path | None = None
    """State dict of that classifier, where it does not bring its own."""
    refine: Refinement = "none"
    """Sharpens each map by its frame: `guided` (fast), `crf` (extra `crf`) or `none`."""
    binary: bool = False
    """Cut the maps at one half, after refinement: the paper's Q in {0, 1}."""
    index_cache: Path | None = None
    """Folder where frames of video files are unpacked to, for several uses; OUT/.videos when not given."""
    overwrite: bool = False
    """Compute maps anew that lie there already."""
    workers: int | None = None
    """Processes; one for each core when not given."""

    def unused(self) -> Mapping[str, str]:
        """See `mug.command.options.parse`."""
        return {} if self.kind in CLASSIFIED else dict.fromkeys(("classifier", "weights"), _OF_CLASSIFIED)
