"""`mug calibrate`: chooses the matching temperature (of the softmax) on synthetic videos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from downstream.backbones.by_name import TEMPERATURE_KEY, open_backbone
from downstream.backbones.device import choose_device
from downstream.backbones.features import Extractor, PhiFeatures
from downstream.backbones.lattice import cells_of
from downstream.backbones.names import OURS
from downstream.metrics.region import jaccard
from downstream.one_shot.propagator import Propagator
from downstream.one_shot.protocols import PRESETS, PropagationConfig
from downstream.options import CalibrateOptions
from mug.checkpoint import load_weights, save_weights
from mug.errors import InputError
from mug.media.masks import VOID
from mug.run.progress import track
from mug.synth.videos import synthetic_video

TEMPERATURES = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.035, 0.05, 0.07, 0.1, 0.2)
"""Candidate temperatures. The spread of similarities differs between features by orders of magnitude."""

CLIP_FRAMES, CLIP_PACE, CLIP_SIZE = 24, 3, (160, 240)
"""The synthetic videos. Only every third frame is used, because slow videos forgive a temperature that is too high."""

MARGIN = 0.005
"""Largest difference between scores that count as equal."""

Clip = tuple[np.ndarray, np.ndarray]
"""Frames (T, H, W, 3) uint8 RGB and their masks (T, H, W) uint8."""


def calibrate(options: CalibrateOptions) -> None:
    """Chooses the matching temperature for weights; weights of MuG store it in their metadata."""
    if options.clips < 1:
        raise InputError(f"--clips {options.clips}: is too few; give 1 or more")
    device = choose_device(options.device)
    ours = options.backbone == OURS
    if ours and options.preset != "mug":
        raise InputError(f"--preset {options.preset}: weights of MuG keep the temperature of `mug`; leave it out")
    config = replace(
        PRESETS[options.preset], size=None, grid=None, evidence="none"
    )  # the temperature is chosen for matching alone
    if ours:
        model, metadata = load_weights(options.weights)
        extract: Extractor = PhiFeatures(model.phi.to(device).eval())
    else:
        extract = open_backbone(options.backbone, options.weights, device, config.stride).extract
    scores = score_temperatures(extract, config, calibration_clips(options.clips), device=device)
    best = best_temperature(scores)
    if ours:
        save_weights(options.weights, model.cpu(), {**metadata, TEMPERATURE_KEY: f"{best:g}"})
    verdict = "written" if ours else f"--temperature {best:g}"
    for temperature, score in scores.items():
        print(f"{temperature:8g}  J {100 * score:5.1f}{f'  <- {verdict}' if temperature == best else ''}")
    if scores[best] < max(scores.values()):
        print(f"(the lowest within {100 * MARGIN:g} of the best: on longer videos a softer vote loses more)")


def calibration_clips(count: int) -> list[Clip]:
    """The synthetic videos; they are the same at every call."""
    return [calibration_clip(index) for index in range(count)]


def calibration_clip(index: int) -> Clip:
    """One synthetic video, with one or two objects."""
    rng = np.random.default_rng([20, index])
    return synthetic_video(rng, CLIP_FRAMES * CLIP_PACE, *CLIP_SIZE, objects=1 + index % 2, pace=CLIP_PACE)


def score_temperatures(
    extract: Extractor,
    config: PropagationConfig,
    clips: Sequence[Clip],
    temperatures: Sequence[float] = TEMPERATURES,
    device: torch.device | str = "cpu",
) -> dict[float, float]:
    """Mean J for each temperature, over the clips, their frames after the first and their objects.

    Args:
        extract: Feature extractor.
        config: The protocol; only its temperature is replaced.
        clips: Videos with a mask for every frame.
        temperatures: Candidate temperatures.
        device: Device of features and labels.
    """
    scores: dict[float, list[float]] = {temperature: [] for temperature in temperatures}
    for frames, masks in track(clips, "calibrating"):
        recorded = Recorder(extract)
        for temperature in temperatures:
            propagator = Propagator(recorded.replay(), replace(config, temperature=temperature), device)
            results = [propagator.step(frame, masks[0] if i == 0 else None) for i, frame in enumerate(frames)]
            scores[temperature].append(_mean_j(np.stack(results[1:]), masks[1:]))
    return {temperature: float(np.mean(values)) for temperature, values in scores.items()}


def best_temperature(scores: dict[float, float]) -> float:
    """The lowest temperature that scores within `MARGIN` of the best.

    Real videos are longer than the synthetic ones, and the errors of a softer vote accumulate from frame to frame.
    """
    return min(temperature for temperature, score in scores.items() if score >= max(scores.values()) - MARGIN)


class Recorder:
    """Caches a video's features, so that several propagation passes extract them once.

    Example:
        >>> calls = []
        >>> recorder = Recorder(lambda frame: calls.append(1) or frame)
        >>> for _ in range(3):
        ...     extract = recorder.replay()
        ...     _ = extract(torch.zeros(1)), extract(torch.ones(1))
        >>> len(calls)
        2
    """

    def __init__(self, extract: Extractor) -> None:
        self._extract = extract
        self._features: list[Tensor] = []

    def replay(self) -> Extractor:
        """An extractor for the video's frames, starting at the first."""
        return _Replay(self._extract, self._features)


class _Replay:
    def __init__(self, extract: Extractor, features: list[Tensor]) -> None:
        self._extract, self._features = extract, features
        self._position = 0
        self.cells = cells_of(extract)

    def __call__(self, frame: Tensor) -> Tensor:
        if self._position == len(self._features):
            self._features.append(self._extract(frame))
        self._position += 1
        return self._features[self._position - 1]


def _mean_j(results_thw: np.ndarray, masks_thw: np.ndarray) -> float:
    """Mean J over frames and objects."""
    objects = set(np.unique(masks_thw).tolist()) - {0, VOID}
    pairs = list(zip(results_thw, masks_thw, strict=True))
    return float(np.mean([jaccard(result == n, mask == n) for result, mask in pairs for n in objects]))
