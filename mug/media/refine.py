"""Refinement of soft foreground maps with their frames: a guided filter, or the dense CRF common in the literature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mug.errors import InputError

Refinement = Literal["none", "guided", "crf"]

GUIDE_RADIUS = 0.012
"""Half width of the guided filter's window as a share of the frame's diagonal: 12 px at 480p."""
GUIDE_EPSILON = 1e-3
"""Regulariser of the guided filter, in squared colour in [0, 1]: edges below about 3 % are smoothed."""
CERTAINTY = 1e-4
"""Probabilities are clipped to [CERTAINTY, 1 - CERTAINTY] before taking logarithms."""


@dataclass(frozen=True)
class CRFConfig:
    """A fully connected CRF (Kraehenbuehl and Koltun 2011): a smoothness kernel and an appearance kernel."""

    smooth_sxy: float = 1.0
    """Standard deviation of the smoothness kernel in pixels."""
    smooth_compat: float = 5.0
    """Weight of the smoothness kernel."""
    colour_sxy: float = 30.0
    """Spatial standard deviation of the appearance kernel in pixels."""
    colour_srgb: float = 5.0
    """Colour standard deviation of the appearance kernel in 8-bit levels."""
    colour_compat: float = 9.0
    """Weight of the appearance kernel."""
    steps: int = 5
    """Iterations of mean-field inference."""


CRF_PRESETS: dict[str, CRFConfig] = {
    "agnn": CRFConfig(),
    "cosnet": CRFConfig(colour_sxy=15, colour_srgb=7, colour_compat=9),  # the middle of the published ranges
    "hcpn": CRFConfig(smooth_compat=3, colour_sxy=25, colour_srgb=5, colour_compat=7),
}


def refine(
    frame: NDArray[np.uint8],
    probability: NDArray[np.floating[Any]],
    kind: Refinement = "guided",
    crf: CRFConfig | str = "agnn",
) -> NDArray[np.float32]:
    """Aligns the borders of a foreground map with the edges of its frame.

    Args:
        frame: (H, W, 3) uint8 RGB.
        probability: (H, W) foreground probability in [0, 1].
        kind: "none" returns the map unchanged; "guided" is the guided filter (He et al. 2010), fast and without
            compilation; "crf" is the dense CRF of the extra `crf`.
        crf: The CRF's parameters, or the name of a preset in `CRF_PRESETS`.

    Returns:
        (H, W) float32 in [0, 1]; finite for constant maps too, with every kind.

    Raises:
        InputError: the frame is not 8-bit RGB, the sizes differ, values are outside [0, 1] or not finite, the kind or
            preset is unknown, or the CRF is not installed.
    """
    map_hw = _checked(frame, probability)
    if kind == "none":
        return map_hw
    if kind == "guided":
        return _guided(frame, map_hw)
    if kind == "crf":
        return _crf(frame, map_hw, crf_preset(crf))
    raise InputError(f"--refine {kind}: no such refinement; use {', '.join(get_args(Refinement))}")


def recut(probability: NDArray[Any], cut: float) -> NDArray[Any]:
    """Shifts the log odds of a map of any shape so that the threshold `cut`, in (0, 1), becomes 0.5.

    >>> recut(np.array([0.0, 0.2, 1.0]), 0.2).tolist()
    [0.0, 0.5, 1.0]
    """
    above, below = probability * (1 - cut), (1 - probability) * cut
    moved: NDArray[Any] = above / (above + below)
    return moved


def crf_preset(name: CRFConfig | str) -> CRFConfig:
    """The CRF parameters with this name; parameters are returned unchanged."""
    if isinstance(name, CRFConfig):
        return name
    if name not in CRF_PRESETS:
        raise InputError(f"CRF preset {name}: not known; use one of {', '.join(CRF_PRESETS)}")
    return CRF_PRESETS[name]


def require_crf(option: str = "--refine") -> None:
    """Raises the `InputError` for a missing dense CRF, so that a long computation does not fail at its end.

    Args:
        option: The option that selected it.
    """
    try:
        import pydensecrf.densecrf  # noqa: F401
    except ImportError as error:
        remedy = 'pip install "mug-vos[crf]"'
        raise InputError(f"dense CRF is not installed; run: {remedy}, or use {option} guided") from error


def _checked(frame: NDArray[Any], probability: NDArray[Any]) -> NDArray[np.float32]:
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise InputError(f"frame: 8-bit RGB (H, W, 3) needed, got {frame.dtype} {frame.shape}; convert it first")
    if probability.shape != frame.shape[:2]:
        raise InputError(f"map of {probability.shape} for a frame of {frame.shape[:2]}; resize the map to the frame")
    if not np.issubdtype(probability.dtype, np.floating):
        raise InputError(f"map: floating point in [0, 1] needed, got {probability.dtype}; divide by its full scale")
    map_hw = probability.astype(np.float32, copy=False)
    if not np.isfinite(map_hw).all() or map_hw.min() < 0 or map_hw.max() > 1:
        raise InputError("map: every value must be finite and in [0, 1]")
    return map_hw


def _guided(frame: NDArray[np.uint8], map_hw: NDArray[np.float32]) -> NDArray[np.float32]:
    from cv2 import ximgproc

    radius = max(2, round(GUIDE_RADIUS * float(np.hypot(*map_hw.shape))))
    guide = frame.astype(np.float32) / 255
    smooth = ximgproc.guidedFilter(guide, map_hw, radius, GUIDE_EPSILON)
    return np.clip(smooth, 0, 1)


def _crf(frame: NDArray[np.uint8], map_hw: NDArray[np.float32], config: CRFConfig) -> NDArray[np.float32]:
    require_crf()
    from pydensecrf.densecrf import DenseCRF2D

    height, width = map_hw.shape
    foreground = np.clip(map_hw, CERTAINTY, 1 - CERTAINTY)
    unary = -np.log(np.stack([1 - foreground, foreground])).reshape(2, -1)
    crf = DenseCRF2D(width, height, 2)
    crf.setUnaryEnergy(np.ascontiguousarray(unary, dtype=np.float32))
    crf.addPairwiseGaussian(sxy=config.smooth_sxy, compat=config.smooth_compat)
    crf.addPairwiseBilateral(
        sxy=config.colour_sxy,
        srgb=config.colour_srgb,
        rgbim=np.ascontiguousarray(frame),
        compat=config.colour_compat,
    )
    marginals = np.asarray(crf.inference(config.steps), dtype=np.float32)
    return np.clip(marginals[1].reshape(height, width), 0, 1)
