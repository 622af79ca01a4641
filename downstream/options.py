"""Options of the commands; importing them loads no library.

`segment`, `propagate` and `finetune` have the options here in common for all systems; each system adds its own
(`downstream.systems`). Annotations are evaluated types, not strings, because classes in other modules inherit them.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from downstream.backbones.names import OURS
from downstream.data.dataset import Kind
from downstream.instances.options import InstanceConfig
from downstream.one_shot.protocols import Preset
from downstream.training.options import SampleOptions
from mug.errors import InputError
from mug.media.address import Address
from mug.media.refine import Refinement
from mug.options import TrunkConfig
from mug.run.options import Engine, OptimiserOptions, ScheduleOptions


@dataclass
class CosegmentOptions:
    """Options of `mug cosegment`."""

    images: Path
    """A folder of images, a folder of such folders, one per class, or PASCAL VOC 2012. Only the masks of PASCAL VOC are
    read, to find the images of each class."""
    weights: Path
    """Weights of AGNN (.safetensors)."""
    out: Path
    """Output folder: OUT/<class>/<image>.png."""
    split: str | None = None
    """Split of PASCAL VOC: `train`, `val` or `test`."""
    nodes: int = 3
    """N', images per graph; 1 segments each image by itself."""
    size: int | None = None
    """Side in pixels of the square that images are resized to; by default the training size."""
    batch: int = 4
    """Graphs processed at a time; more are faster on a GPU and need more memory."""
    memory: float = 4.0
    """Maximum GiB for the embeddings of a group; an image of 473 pixels needs about 1.8 MB."""
    shard: str | None = None
    """Part of the groups to do, i/n (`2/8`); the n parts may run at once and meet in OUT. Default: the rank given by
    torchrun or SLURM, or all."""
    resume: bool = False
    """Keep the groups that were finished with the same options and do the rest. With `--overwrite`, all others are
    replaced."""
    overwrite: bool = False
    """Replace existing results."""
    device: str = "auto"
    """`cpu`, `cuda` or `auto`: a GPU if there is one."""


@dataclass
class SquareConfig:
    """Inference options of systems that resize frames to squares."""

    option: ClassVar[str]
    """Name of these options on the command line."""
    side: int | None = None
    """Side in pixels of the square that frames are resized to; by default the training size."""

    def check(self) -> None:
        """Raises `InputError` if a setting is out of range."""
        if self.side is not None and self.side < 32:
            raise InputError(f"--{self.option}.side {self.side}: must be at least 32 pixels")


@dataclass
class CutConfig(SquareConfig):
    """Inference options of systems whose maps are cut by a threshold for each video."""

    cut: Literal["expected", "half"] | None = None
    """Threshold on the maps of a video: `expected`, with the highest expected J if the maps are probabilities, or
    `half` (0.5). By default `expected` for weights with bias correction, else `half`."""


@dataclass
class CalibrateOptions:
    """Options of `mug calibrate`."""

    weights: Path
    """Weights of MuG (.safetensors), whose metadata receive the temperature, or of another backbone."""
    backbone: str = OURS
    """Backbone of the weights, as for `mug propagate`; except for `mug`, the temperature is only printed."""
    preset: Preset = "mug"
    """Protocol to choose the temperature for; weights of MuG always store that of `mug`."""
    clips: int = 4
    """Number of synthetic videos."""
    device: str = "auto"
    """`cpu`, `cuda` or `auto`: a GPU if there is one."""


@dataclass
class ConvertOptions:
    """Options of `mug convert`."""

    system: str
    """System of the weights."""
    file: Path
    """Weights as its authors released them, `.pth` or `.safetensors`."""
    out: Path
    """The weights of mug to write (.safetensors)."""
    overwrite: bool = False
    """Replace an existing file."""


@dataclass
class DemoOptions:
    """Options of `mug demo`."""

    out: Path = Path("runs/demo")
    """Output folder; an interrupted demo in it is resumed."""
    quick: bool = False
    """Run a miniature to check that everything works; its scores are meaningless."""


@dataclass(kw_only=True)
class PropagateOptions:
    """Options of `mug propagate`."""

    videos: Address | Path
    """A video, a camera (`0`), a stream (`rtsp://...`), or the root of a dataset (DAVIS, YouTube-VOS, FBMS-59, ...).
    Only the given masks are read: the first of each sequence, and that of each object that appears later. Ctrl-C ends a
    stream."""
    out: Path
    """Output folder: OUT/<sequence>/<frame>.png."""
    system: str = "mug"
    """Method: `mug`, by matching, or `rvos` or `agame` with weights of `mug finetune`. `--system NAME --help` lists the
    options of a system."""
    weights: Path | None = None
    """Weights of the system or its backbone; for `mug` the packaged weights by default."""
    mask: Path | None = None
    """Mask of the first frame, for a single video; or a folder of masks that are named as their frames, of which later
    ones add objects or correct them."""
    box: list[str] | None = None
    """Box around an object, x,y,width,height in pixels, instead of a mask; repeat it for further objects. `2:x,y,w,h`
    gives an object its id, `FRAME@2:x,y,w,h` adds or corrects one in a later frame."""
    point: list[str] | None = None
    """Point on an object, x,y in pixels, with id and frame as for `--box`; several with one id mark one object."""
    dataset: Kind | None = None
    """Kind of dataset; by default recognised by its layout."""
    split: str | None = None
    """Split of the dataset (`2017/val`, `test-dev`, `valid`)."""
    overlay: bool = False
    """Also write OUT/<sequence>.mp4 with the masks drawn over the frames; before, OUT/<sequence>_<frame>.jpg with the
    mask of each box or point."""
    shard: str | None = None
    """Part of the videos to do, i/n (`2/8`); the n parts may run at once and meet in OUT. Default: the rank given by
    torchrun or SLURM, or all."""
    resume: bool = False
    """Keep the videos that were finished with the same options and do the rest. With `--overwrite`, all others are
    replaced."""
    overwrite: bool = False
    """Replace existing results."""
    device: str = "auto"
    """`cpu`, `cuda` or `auto`: a GPU if there is one."""


@dataclass(kw_only=True)
class SegmentOptions:
    """Options of `mug segment`."""

    videos: Address | Path
    """A video, a folder of videos, or the root of a dataset (DAVIS, YouTube-VOS, FBMS-59, ...). No mask is read.
    `--system rvos` reads frame by frame and also takes a camera (`0`) or a stream (`rtsp://...`); Ctrl-C ends it."""
    out: Path
    """Output folder: OUT/<sequence>/<frame>.png."""
    dataset: Kind | None = None
    """Kind of dataset; by default recognised by its layout."""
    split: str | None = None
    """Split of the dataset (`2017/val`, `test`)."""
    system: str = "mug"
    """Method: `mug`, or `agnn`, `cosnet`, `hcpn` or `rvos` with weights of `mug finetune`. `--system NAME --help` lists
    the options of a system."""
    weights: Path | None = None
    """Weights of the system or its backbone; for `mug` the packaged weights by default."""
    instances: bool = False
    """Segment instances: each object has its own id throughout the video, in order of confidence."""
    instance: InstanceConfig = field(default_factory=InstanceConfig)
    """Options of instance segmentation."""
    refine: Refinement = "none"
    """Refinement of the map to the frame's edges before thresholding at 0.5: `guided` (fast), `crf` (extra `crf`) or
    `none`."""
    raw: bool = False
    """Also keep the masks before refinement, as OUT/raw/<sequence>/<frame>.png, so that both can be scored."""
    soft: bool = False
    """Also keep the refined 8-bit maps, as OUT/soft/<sequence>/<frame>.png."""
    overlay: bool = False
    """Also write OUT/<sequence>.mp4 with the masks drawn over the frames."""
    shard: str | None = None
    """Part of the videos to do, i/n (`2/8`); the n parts may run at once and meet in OUT. Default: the rank given by
    torchrun or SLURM, or all."""
    resume: bool = False
    """Keep the videos that were finished with the same options and do the rest. With `--overwrite`, all others are
    replaced."""
    overwrite: bool = False
    """Replace existing results."""
    device: str = "auto"
    """`cpu`, `cuda` or `auto`: a GPU if there is one."""

    def unused(self) -> Mapping[str, str]:
        """See `mug.command.options.parse`."""
        return {} if self.instances else {"instance": "says how objects are told apart; add --instances"}


@dataclass(kw_only=True)
class FinetuneOptions(ABC):
    """Options of `mug finetune`."""

    system: str
    """System to train: `agnn`, `cosnet`, `hcpn`, `rvos` or `agame`. `mug finetune SYSTEM --help` lists its options."""
    data: list[Path] | Path
    """Training data: an annotated dataset of videos (DAVIS, YouTube-VOS, FBMS-59, ...); PASCAL VOC or folders of image
    groups for co-segmentation; any videos with `--labels pseudo`; or several of these (`--data A --data B`)."""
    out: Path
    """Folder of the run; an interrupted run in it is resumed."""
    dataset: Kind | None = None
    """Kind of video dataset; by default recognised by its layout."""
    split: list[str | None] | str | None = None
    """Training split of the dataset (`2017/train`); of several, one for all or one for each (null: all of it)."""
    weights: Path | None = None
    """Initial weights of the trunk: MuG's phi (by default the packaged weights), or those of torchvision's ResNet or
    DeepLabV3 if the model uses one."""
    scratch: bool = False
    """Start from random weights instead."""
    start: Path | None = None
    """Weights of this system to go on from, as the last stage of its training wrote them."""
    freeze_norm: bool = True
    """Keep the trunk's batch norm as pretrained; with `--scratch` it is trained."""
    trunk_rate: float = 0.1
    """Learning rate factor of the trunk. 0 keeps it as pretrained, or means 0.1 with `--scratch`."""
    labels: Literal["annotations", "pseudo"] = "annotations"
    """`pseudo`: train on MuG's own masks of the videos, without reading annotations."""
    pseudo_frames: int = 16
    """Number of successive frames, from the middle of each video, that get pseudo labels."""
    hold: int = 0
    """Number of sequences held out for testing, selected by a hash of their names and listed in `held_out.txt`."""
    sample: SampleOptions = field(default_factory=SampleOptions)
    """Sampling of training frames."""
    optimiser: OptimiserOptions = field(default_factory=lambda: OptimiserOptions(lr=2.5e-4))
    """Optimiser."""
    schedule: ScheduleOptions = field(default_factory=lambda: ScheduleOptions(kind="poly"))
    """Learning rate schedule."""
    steps: int = 20000
    """Number of training steps."""
    engine: Engine = field(default_factory=Engine)
    """Devices and precision."""
    workers: int = 2
    """Data loading processes per training process; 0 loads in the training process."""
    save_every: int = 500
    """Steps between checkpoints."""
    seed: int = 0
    """Random seed."""

    @property
    @abstractmethod
    def trunk(self) -> TrunkConfig:
        """Architecture of the trunk."""

    @property
    def teacher(self) -> Path | None:
        """Weights of MuG for the pseudo labels: the initial weights, if the trunk is MuG's."""
        return self.weights if self.trunk.kind == "phi" else None

    def unused(self) -> Mapping[str, str]:
        """See `mug.command.options.parse`."""
        kind, trunk = self.trunk.kind, self.trunk_option
        unused = {f"{trunk}.backbone": "phi", f"{trunk}.depth": "resnet", f"{trunk}.caffe": "resnet"}
        unused = {name: f"is not of --{trunk}.kind {kind}" for name, owner in unused.items() if owner != kind}
        if kind == "phi":
            unused[f"{trunk}.stride"] = f"is not of --{trunk}.kind phi; give --{trunk}.backbone.stride"
        if self.labels == "pseudo":
            unused |= dict.fromkeys(("dataset", "split"), "says where annotations lie; --labels pseudo reads none")
        else:
            unused["pseudo_frames"] = "is of --labels pseudo"
        if self.start is not None:
            reason = "is that of the weights to go on from (--start)"
            return unused | {"model": reason, "weights": reason, "scratch": reason}
        if self.scratch:
            unused["freeze_norm"] = "a trunk that begins at random (--scratch) learns its batch norm"
        if self.scratch and self.labels == "annotations":
            unused["weights"] = "--scratch begins at random"
        return unused

    @property
    def trunk_option(self) -> str:
        """Name of the option that holds the trunk's architecture."""
        return "model.trunk"

    def require(self) -> None:
        """Checks the initial weights and the still images before pseudo labels are computed."""
        from downstream.systems.base import open_part
        from downstream.training.annotated import check_stills, saliency_images

        for path in open_part("training", self.system, self).stills:
            check_stills(saliency_images(path))


@dataclass(kw_only=True)
class BalancedOptions(FinetuneOptions):
    """Options of `mug finetune` for systems whose loss balances fore- and background (AGNN Eq. 12)."""

    stills: list[Path] = field(default_factory=list)
    """Datasets of salient objects in still images (MSRA10K, DUT-OMRON, DUTS); every other step trains on them."""
    head_rate: float = 1.0
    """Learning rate factor of what follows the embedding; that of the embedding's pyramid is 1."""
    calibrate: bool = True
    """Bias correction of the last layer after training. The class-balanced loss inflates foreground odds; with
    corrected bias, maps are probabilities and are thresholded for the highest expected J. Without, the threshold is
    0.5, as in the papers."""
