"""How labels travel in O-VOS, and the protocols behind published numbers: every number of theirs stands here.

Each was read from the code its authors released; `docs/protocols.md` says what it was measured with, and where the
words of a paper and its code differ.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from mug.errors import InputError

Preset = Literal["mug", "paper", "crw", "vfs", "vfs_r50", "dino", "dinov3", "timecycle", "corrflow"]

Witnesses = Literal["none", "motion", "appearance", "both"]


@dataclass
class PropagationConfig:
    """How labels travel from the frames already segmented to the next one."""

    # --- the frame as features are extracted from it ---
    size: int | None = None
    """Pixels of the frame's shorter side; None: as `grid` says, or the frame's own size."""
    grid: int | None = None
    """Without a size: cells of the backbone to the shorter side, by whatever stride it has."""
    longer: Literal["nearest", "down", "up", "square"] = "nearest"
    """How the longer side, in proportion, is rounded to a multiple of `multiple`; `square`: as long as the shorter."""
    multiple: int = 1
    """Pixels that the longer side is a multiple of; for a stride that it misses, the backbone pads."""
    resample: Literal["area", "linear", "cubic"] = "area"
    """How frames are resized; `area` interpolates linearly where it enlarges."""
    stride: int | None = 8
    """Pixels to a cell that a convolutional backbone by name is brought to by taking strides out, undilated."""
    unit: bool = True
    """Whether features are L2-normalised over channels before they are compared."""
    cells: Literal["even", "backbone"] = "even"
    """Where cells lie in the frame: as if they shared it evenly, as all released code has it whatever its network, or
    where the backbone says (`downstream.backbones.lattice`). A shift that labels make on their way to the cells they
    make back on their way to pixels; the preset `mug` lost J on real video where there was none."""

    # --- the memory ---
    frames: int = 7
    """How many of the most recent frames are remembered."""
    keep_first: bool = True
    """Whether frames whose mask was given stay in the memory for good."""
    first_copies: int = 0
    """How often the first frame stands among the recent ones too, to begin with; later frames push it out."""

    # --- who votes for a cell, and how ---
    radius: float | None = 0.2
    """How far a cell looks; None: anywhere."""
    first_radius: float | None = 0.2
    """The same for the frames whose mask was given, which may be long past."""
    radius_in: Literal["share", "cells"] = "share"
    """What the radii count: shares of the frame's shorter side, rounded to whole cells, or cells."""
    window: Literal["square", "circle"] = "square"
    """Whether a radius bounds |dx| and |dy|, or the distance."""
    top_k: int | None = 5
    """Only this many most similar cells vote; None: all of them."""
    votes: Literal["joint", "frame"] = "joint"
    """`joint`: the k best of all remembered frames, then a softmax over these. `frame`: of each remembered frame by
    itself a softmax, of which the k largest weights count as they are; then the mean over frames."""
    temperature: float = 0.05
    """Divides the similarities before the softmax; it has to suit the spread of the features."""

    # --- what else speaks for an object ---
    evidence: Witnesses = "none"
    """What joins the votes of matching in every frame (`downstream.one_shot.evidence`): that an object moves, what it
    looks like, or both; `none`: matching alone."""

    # --- labels ---
    first_labels: Literal["area", "bilinear", "nearest"] = "area"
    """How a given mask reaches the grid: the share of the cell that an object covers, or the label at the cell's
    centre, interpolated (in the mask at the size that features are extracted at) or not."""
    labels: Literal["soft", "hard", "mask"] = "soft"
    """What is remembered of a frame: its distribution over objects, the object that each cell was assigned, or its
    result mask, brought to the grid like a given one."""
    sharpen: float = 1.6
    """Power that soft labels are raised to before they are remembered: at 1 small objects fade from frame to frame,
    high powers turn into hard labels."""
    stretch: Literal["none", "result", "memory"] = "none"
    """Whether each object's map is stretched to [0, 1] over the frame before the argmax (`result`), or even before it
    is remembered (`memory`)."""
    argmax_at: Literal["frame", "input", "cells"] = "frame"
    """Where objects compete: in the distribution upsampled bilinearly to the frame or to the size that features were
    extracted at, or cell by cell; a mask that is smaller than the frame is enlarged by nearest neighbour."""
    refine: Literal["none", "guided"] = "none"
    """Whether the distribution upsampled to the frame is pulled to the frame's edges by a guided filter."""


_CRW = PropagationConfig(
    frames=20,
    first_copies=20,  # the released code puts 20 copies of the first frame before the video
    radius=11.99,  # its circle leaves out the rim at 12
    first_radius=None,
    radius_in="cells",
    window="circle",
    top_k=10,
    temperature=0.05,
    first_labels="bilinear",
    sharpen=1,
)
_VFS = PropagationConfig(
    size=480,
    resample="linear",
    frames=20,
    first_copies=1,
    radius=11.99,  # "neighbor_range" 24 is a diameter; the rim is left out
    first_radius=11.99,
    radius_in="cells",
    window="circle",
    top_k=10,
    temperature=0.07,
    first_labels="nearest",
    sharpen=1,
    stretch="result",
)

PRESETS: dict[Preset, PropagationConfig] = {
    # ours: MuG Eq. 17 over a memory, joined by evidence
    "mug": PropagationConfig(size=480, evidence="both"),
    # MuG Sec. 3.3 and Eq. 17 to the letter. The affinity is of 64 x 64 by 64 x 64 positions, a softmax over all those
    # of the frame before, which alone is remembered; a position has the one-hot label of its own pixel, and is assigned
    # to the argmax. Sec. 3.3 gives the grid and no size of the frame: at stride 4 it is that of training, 256 x 256
    # (Sec. 3.2), and a backbone of another stride sees as many more pixels. The paper gives no temperature, without
    # which features of unit length would all weigh alike, and not how 64 x 64 labels become the video's (here each
    # pixel has that of the nearest cell).
    "paper": PropagationConfig(
        grid=64,
        longer="square",
        stride=4,
        cells="backbone",
        frames=1,
        keep_first=False,
        radius=None,
        first_radius=None,
        top_k=None,
        first_labels="nearest",
        labels="hard",
        argmax_at="cells",
    ),
    # Jabri et al. 2020, Contrastive Random Walk; github.com/ajabri/videowalk, README and code/test.py
    "crw": _CRW,
    # Xu & Wang 2021, Video Frame-level Similarity; github.com/xvjiarui/VFS, configs/r18_nc_* and r50_nc_*
    "vfs": _VFS,
    "vfs_r50": replace(_VFS, radius=17.99, first_radius=17.99),
    # Caron et al. 2021; github.com/facebookresearch/dino, eval_video_segmentation.py
    "dino": PropagationConfig(
        size=480,
        longer="down",
        multiple=64,
        resample="linear",
        frames=7,
        radius=12,
        first_radius=12,
        radius_in="cells",
        top_k=5,
        temperature=0.1,
        first_labels="nearest",
        sharpen=1,
        stretch="result",
        argmax_at="input",
    ),
    # Simeoni et al. 2025; github.com/facebookresearch/dinov3, notebooks/segmentation_tracking.ipynb
    "dinov3": PropagationConfig(
        size=960,
        longer="up",
        multiple=16,
        resample="cubic",
        frames=7,
        radius=12,
        first_radius=12,
        radius_in="cells",
        window="circle",
        top_k=5,
        temperature=0.2,
        first_labels="nearest",
        sharpen=1,
        stretch="result",
        argmax_at="cells",
    ),
    # Wang, Jabri & Efros 2019; github.com/xiaolonw/TimeCycle, test_davis.py and run_test.sh
    "timecycle": PropagationConfig(
        size=320,
        longer="square",
        resample="linear",
        frames=7,
        first_copies=7,
        radius=None,
        first_radius=None,
        top_k=5,
        votes="frame",
        temperature=512**-0.5,  # one over the root of the number of channels
        first_labels="bilinear",
        sharpen=1,
        stretch="memory",
        argmax_at="input",
    ),
    # Lai & Xie 2019; github.com/zlai0/CorrFlow, benchmark.py and models/colorizer.py
    "corrflow": PropagationConfig(
        stride=4,
        unit=False,
        frames=1,
        keep_first=False,
        radius=6,
        first_radius=6,
        radius_in="cells",
        top_k=None,
        temperature=1,
        first_labels="nearest",
        labels="mask",
        sharpen=1,
    ),
}

LEFT_TO_THE_WEIGHTS: tuple[Preset, ...] = ("mug", "paper")
"""Presets that name no temperature: the one that suits the weights is taken where it is known."""


def check_temperature(temperature: float | None) -> None:
    """Raises `InputError` where `--temperature` cannot divide."""
    if temperature is not None and not temperature > 0:
        raise InputError(f"--temperature {temperature}: must be above 0")
