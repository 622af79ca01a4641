"""What the commands are told: their options, which load no library.

Those of `segment`, `propagate` and `finetune` are the part that all systems share; each system adds its own
(`downstream.systems`). Annotations are types here, not text: classes of other modules inherit them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from downstream.backbones.names import OURS
from downstream.data.dataset import Kind
from downstream.instances.options import InstanceConfig
from downstream.one_shot.protocols import Preset
from downstream.training.options import SampleOptions
from mug.media.refine import Refinement
from mug.run.options import Engine, OptimiserOptions, ScheduleOptions


@dataclass
class CosegmentOptions:
    """What `mug cosegment` is asked to do."""

    images: Path
    """A folder of images, a folder of such folders, one to a class, or PASCAL VOC 2012; no mask is used but those of
    PASCAL VOC, which say which images show a class."""
    weights: Path
    """Weights of AGNN (.safetensors)."""
    out: Path
    """Folder for the results: OUT/<class>/<image>.png."""
    split: str | None = None
    """Of PASCAL VOC: `train`, `val` or `test`."""
    nodes: int = 3
    """N', images to a graph; 1 segments each image by itself."""
    size: int | None = None
    """Side of the square that every image is resized to for the network, in pixels; the one it was trained at when not
    given."""
    batch: int = 4
    """Graphs at a time; more are faster on a GPU and need more memory."""
    memory: float = 4.0
    """GiB that the embeddings of a group may take; an image of 473 pixels needs about 1.8 MB."""
    overwrite: bool = False
    """Replace results that are there already."""
    device: str = "auto"
    """`cpu`, `cuda` or `auto`: a GPU where there is one."""


@dataclass
class CalibrateOptions:
    """What `mug calibrate` is asked to do."""

    weights: Path
    """Weights of MuG (.safetensors), into whose metadata the temperature is written; or of another backbone."""
    backbone: str = OURS
    """What the weights are of, as `mug propagate` takes it; for others than `mug` the temperature is only printed."""
    preset: Preset = "mug"
    """The protocol that the temperature is for; what is written into weights is always that of `mug`."""
    device: str = "auto"
    """`cpu`, `cuda` or `auto`: a GPU where there is one."""


@dataclass
class DemoOptions:
    """What `mug demo` is asked to do."""

    out: Path = Path("runs/demo")
    """Folder for everything; a demo that was stopped there goes on where it was."""
    quick: bool = False
    """A miniature that only shows that everything runs: its scores mean nothing."""


@dataclass(kw_only=True)
class PropagateOptions:
    """What `mug propagate` is asked to do."""

    videos: Path
    """A video, or the root of a dataset (DAVIS, YouTube-VOS, FBMS-59, ...), of which no masks are read but those that
    are given: each sequence's first, and that of each object that appears later."""
    out: Path
    """Folder for the results: OUT/<sequence>/<frame>.png."""
    system: str = "mug"
    """What carries the masks: `mug`, by matching. Each system has options of its own, which `--system NAME --help`
    lists."""
    weights: Path | None = None
    """Weights of the system or its backbone; of MuG, those that come with the package when not given."""
    mask: Path | None = None
    """The mask of the first frame, for a single video."""
    dataset: Kind | None = None
    """Which dataset `videos` is; recognised by its layout when not given."""
    split: str | None = None
    """The part of that dataset (`2017/val`, `test-dev`, `valid`)."""
    overlay: bool = False
    """Write OUT/<sequence>.mp4 too, with the masks drawn over the frames."""
    overwrite: bool = False
    """Replace results that are there already."""
    device: str = "auto"
    """`cpu`, `cuda` or `auto`: a GPU where there is one."""


@dataclass(kw_only=True)
class SegmentOptions:
    """What `mug segment` is asked to do."""

    videos: Path
    """A video, a folder of videos, or the root of a dataset (DAVIS, YouTube-VOS, FBMS-59, ...); no mask is read."""
    out: Path
    """Folder for the results: OUT/<sequence>/<frame>.png."""
    dataset: Kind | None = None
    """Which dataset `videos` is; recognised by its layout when not given."""
    split: str | None = None
    """The part of that dataset (`2017/val`, `test`)."""
    system: str = "mug"
    """What finds the object: `mug` by itself, or `agnn` as `mug finetune agnn` trained it. Each has options of its own,
    which `--system NAME --help` lists."""
    weights: Path | None = None
    """Weights of the system or its backbone; MuG's that come with the package when not given."""
    instances: bool = False
    """Tell the objects apart: an id for each, the surest first, that stays with it through the video."""
    instance: InstanceConfig = field(default_factory=InstanceConfig)
    """How objects are told apart."""
    refine: Refinement = "none"
    """Sharpens the map by its frame before it is cut at 0.5: `guided` (fast), `crf` (extra `crf`) or `none`."""
    raw: bool = False
    """Keep the masks before refinement too, as OUT/raw/<sequence>/<frame>.png, so that both can be scored."""
    soft: bool = False
    """Keep the refined 8-bit maps too, as OUT/soft/<sequence>/<frame>.png."""
    overlay: bool = False
    """Write OUT/<sequence>.mp4 too, with the masks drawn over the frames."""
    overwrite: bool = False
    """Replace results that are there already."""
    device: str = "auto"
    """`cpu`, `cuda` or `auto`: a GPU where there is one."""

    def unused(self) -> Mapping[str, str]:
        """See `mug.command.options.parse`."""
        return {} if self.instances else {"instance": "says how objects are told apart; add --instances"}


@dataclass(kw_only=True)
class FinetuneOptions:
    """What `mug finetune` is told."""

    system: str
    """What is trained: `agnn`. Each system has options of its own, which `mug finetune SYSTEM --help` lists."""
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
    """What training starts from: MuG's phi (the weights that come with the package when not given), or those of
    another trunk where the model is built on one."""
    scratch: bool = False
    """Start from random numbers instead."""
    labels: Literal["annotations", "pseudo"] = "annotations"
    """`pseudo`: no annotation is read; MuG's own masks of the videos are learned from."""
    pseudo_frames: int = 16
    """Successive frames from the middle of each video that get such masks."""
    hold: int = 0
    """Sequences kept out of training for testing, picked by a hash of their names and written to `held_out.txt`."""
    sample: SampleOptions = field(default_factory=SampleOptions)
    """What a step sees."""
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

    @property
    def teacher(self) -> Path | None:
        """MuG's weights that pseudo labels are made with; None: those that come with the package."""
        return self.weights

    def unused(self) -> Mapping[str, str]:
        """See `mug.command.options.parse`."""
        if self.labels == "pseudo":
            return dict.fromkeys(("dataset", "split"), "says where annotations lie; --labels pseudo reads none")
        return {"pseudo_frames": "is of --labels pseudo"}

    def require(self) -> None:
        """Asks for the weights that training starts from and for the still images, before masks are made of videos."""
        from downstream.systems.base import open_part
        from downstream.training.annotated import check_stills, saliency_images

        for path in open_part("training", self.system, self).stills:
            check_stills(saliency_images(path))
