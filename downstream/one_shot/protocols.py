"""Label propagation protocols of O-VOS, with all parameters of the published ones.

They follow the authors' released code; `docs/protocols.md` lists the settings behind published numbers and where paper
and code differ.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from mug.errors import InputError

Preset = Literal["mug", "paper", "crw", "vfs", "vfs_r50", "dino", "dinov3", "timecycle", "corrflow"]

Witnesses = Literal["none", "motion", "appearance", "both"]

Looks = Literal["ridge", "gaussian"]


@dataclass
class PropagationConfig:
    """Protocol for propagating labels from the segmented frames to the next one."""

    # --- input frame ---
    size: int | None = None
    """Shorter side of the frame in pixels; None: set by `grid`, or the original size."""
    grid: int | None = None
    """If `size` is None: cells along the shorter side, whatever the backbone's stride."""
    longer: Literal["nearest", "down", "up", "square"] = "nearest"
    """How the proportional longer side is rounded to a multiple of `multiple`; `square`: equal to the shorter side."""
    multiple: int = 1
    """The longer side is a multiple of this many pixels; the backbone pads to its own stride."""
    resample: Literal["area", "linear", "cubic"] = "area"
    """Interpolation for resizing frames; `area` is linear when enlarging."""
    stride: int | None = 8
    """Output stride in pixels to which a named convolutional backbone is reduced by removing strides, undilated."""
    unit: bool = True
    """Whether features are L2-normalised over channels before matching."""
    cells: Literal["even", "backbone"] = "even"
    """Position of cells in the frame: `even` divides the frame evenly, as all released code does for any network;
    `backbone` uses the backbone's own (`downstream.backbones.lattice`). With `even`, labels shift on their way to the
    cells and back by as much on their way to pixels; with `backbone`, the preset `mug` lost J on real video."""

    # --- memory ---
    frames: int = 7
    """Number of most recent frames in the memory."""
    keep_first: bool = True
    """Whether frames with a given mask stay in the memory permanently."""
    first_copies: int = 0
    """Initial number of copies of the first frame among the recent ones; later frames displace them."""

    # --- affinity ---
    radius: float | None = 0.2
    """Search radius of a cell; None: unrestricted."""
    first_radius: float | None = 0.2
    """Search radius in frames with a given mask, which may be long past."""
    radius_in: Literal["share", "cells"] = "share"
    """Unit of the radii: share of the frame's shorter side, rounded to whole cells, or cells."""
    window: Literal["square", "circle"] = "square"
    """Whether a radius bounds |dx| and |dy| (`square`) or the distance (`circle`)."""
    top_k: int | None = 5
    """Number of most similar cells that vote; None: all."""
    votes: Literal["joint", "frame"] = "joint"
    """`joint`: softmax over the k best cells of all memory frames. `frame`: softmax over each memory frame separately,
    of which the k largest weights are kept unchanged; then the mean over frames."""
    temperature: float = 0.05
    """Softmax temperature of the similarities; it has to suit the features."""

    # --- further evidence ---
    evidence: Witnesses = "none"
    """Cues combined with matching in every frame (`downstream.one_shot.evidence`): motion, appearance or both; `none`:
    matching alone."""
    appearance: Looks = "ridge"
    """Model of appearance: a linear readout (`downstream.one_shot.appearance`), or A-GAME's Gaussians
    (`downstream.one_shot.gaussian_appearance`)."""

    # --- labels ---
    first_labels: Literal["area", "bilinear", "nearest"] = "area"
    """How a given mask is resampled to the grid: share of the cell covered by an object, or label at the cell's centre,
    interpolated (in the mask at the size for feature extraction) or not."""
    labels: Literal["soft", "hard", "mask"] = "soft"
    """Labels stored for a frame: its distribution over objects, the one-hot object of each cell, or its result mask,
    resampled to the grid like a given one."""
    sharpen: float = 1.6
    """Exponent of soft labels before they are stored: at 1 small objects fade from frame to frame; high exponents give
    hard labels."""
    stretch: Literal["none", "result", "memory"] = "none"
    """Whether each object's map is rescaled to [0, 1] over the frame before the argmax (`result`), or already before it
    is stored (`memory`)."""
    argmax_at: Literal["frame", "input", "cells"] = "frame"
    """Resolution of the argmax: the distribution upsampled bilinearly to the frame or to the size for feature
    extraction, or the cells; a mask smaller than the frame is enlarged by nearest neighbour."""
    refine: Literal["none", "guided"] = "none"
    """Whether a guided filter aligns the distribution, upsampled to the frame, with the frame's edges."""


_CRW = PropagationConfig(
    frames=20,
    first_copies=20,  # the released code puts 20 copies of the first frame before the video
    radius=11.99,  # its circle excludes the rim at 12
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
    radius=11.99,  # "neighbor_range" 24 is a diameter; the rim is excluded
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
    # ours: MuG Eq. 17 over a memory, combined with evidence
    "mug": PropagationConfig(size=480, evidence="both"),
    # MuG Sec. 3.3 and Eq. 17 to the letter. The affinity is between 64 x 64 and 64 x 64 positions, with a softmax over
    # all positions of the previous frame, the only one in the memory. Each position carries the one-hot label of its
    # own pixel and is assigned to the argmax. Sec. 3.3 gives the grid but no frame size: at stride 4 it is that of
    # training, 256 x 256 (Sec. 3.2); for another stride the frame is scaled accordingly. The paper gives no
    # temperature, without which unit-length features would get nearly uniform weights, and does not say how 64 x 64
    # labels are upsampled (here by nearest neighbour).
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
        temperature=512**-0.5,  # one over the square root of the number of channels
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
"""Presets without a temperature of their own: that of the weights is used if known."""


def heard_looks(witnesses: Witnesses) -> bool:
    """Whether appearance is among the cues."""
    return witnesses in ("appearance", "both")


def check_temperature(temperature: float | None) -> None:
    """Raises `InputError` if `--temperature` is not above 0."""
    if temperature is not None and not temperature > 0:
        raise InputError(f"--temperature {temperature}: must be above 0")
