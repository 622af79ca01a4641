"""O-VOS of given weights beside what they have to beat, in one protocol: Lab colour patches and the untrained phi.

    python benchmarks/one_shot_baselines.py DAVIS_ROOT --weights phi.safetensors --size 480

Every competitor runs at the temperature that is best for it on the same synthetic videos; the annotations of DAVIS are
read for the first frame's labels and for the scores only. Prints Markdown tables: mean J and F in per cent, the first
and the last frame of a sequence left out as in DAVIS-16.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from downstream.backbones.device import choose_device
from downstream.backbones.features import Extractor, PhiFeatures, lab_features, untrained_phi
from downstream.calibrate import best_temperature, calibration_clips, score_temperatures
from downstream.metrics.boundary import f_measure
from downstream.metrics.region import jaccard
from downstream.one_shot.propagator import Propagator
from downstream.one_shot.protocols import PRESETS
from downstream.propagate import annotation, first_mask
from mug.checkpoint import load_weights
from mug.frames import to_tensor
from mug.media.masks import VOID, read_mask
from mug.media.video import Video, find_videos
from mug.options import BackboneConfig
from mug.run.progress import track

Scores = dict[str, tuple[float, float]]
"""Mean J and F of each sequence."""


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, help="dataset in DAVIS layout, all frames annotated")
    parser.add_argument("--weights", type=Path, nargs="*", default=[], help="weights of MuG (.safetensors)")
    parser.add_argument("--preset", choices=sorted(PRESETS), default="mug")
    parser.add_argument("--size", type=int, default=None, help="pixels of the shorter side; the preset's by default")
    parser.add_argument("--every", type=int, default=1, help="one frame in so many only: to explore, not to report")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    device = choose_device(options.device)
    config = PRESETS[options.preset]
    config = replace(config, size=options.size or config.size, evidence="none")  # what features are worth by themselves
    videos = find_videos(options.root)
    results: dict[str, Scores] = {}
    temperatures: dict[str, float] = {}
    for name, make in competitors(options.weights, videos, device).items():
        extract = make()
        temperatures[name] = best_temperature(
            score_temperatures(extract, replace(config, size=None), calibration_clips(), device=device)
        )
        tuned = replace(config, temperature=temperatures[name])
        results[name] = {
            video.name: score(video, Propagator(extract, tuned, device), options.every) for video in track(videos, name)
        }
    note = "" if options.every == 1 else f", one frame in {options.every} only"
    print(f"Preset `{options.preset}`, shorter side {config.size or 'native'}{note}.\n")
    print(table(results, temperatures))


def competitors(weights: list[Path], videos: list[Video], device: torch.device) -> dict[str, Callable[[], Extractor]]:
    """Those who are compared, each made when its turn comes; the untrained phi has the weights' architecture."""
    models = {path.stem: load_weights(path)[0].phi for path in weights}
    architecture = next((phi.config for phi in models.values()), BackboneConfig())

    def untrained() -> Extractor:
        # batch-norm statistics from the test frames themselves: the most that can be done for it without training
        frames = (to_tensor(video[0]) for video in videos)
        return PhiFeatures(untrained_phi(architecture, frames).to(device))

    made: dict[str, Callable[[], Extractor]] = {"Lab patches": lambda: lab_features, "untrained phi": untrained}
    for name, phi in models.items():
        made[name] = lambda phi=phi: PhiFeatures(phi.to(device))  # type: ignore[misc]
    return made


def score(video: Video, propagator: Propagator, every: int = 1) -> tuple[float, float]:
    """Mean J and F over the frames between the first and the last, and over the objects."""
    first = annotation(video)
    indices = range(0, len(video), every)
    objects: list[int] = []
    values = []
    for index in indices:
        truth = (
            first_mask(video, first) if index == 0 else read_mask(first.with_name(f"{video.frame_names[index]}.png"))
        )
        result = propagator.step(video[index], truth if index == 0 else None)
        if index == 0:
            objects = [int(i) for i in np.unique(truth) if i not in (0, VOID)]
        elif index != indices[-1]:
            pairs = [(result == i, truth == i, truth == VOID) for i in objects]
            values.append([(jaccard(*pair), f_measure(*pair)) for pair in pairs])
    j, f = np.mean(values, axis=(0, 1))
    return float(j), float(f)


def table(results: dict[str, Scores], temperatures: dict[str, float]) -> str:
    """Sequences by competitors in Markdown, `J / F` in per cent."""
    names = list(results)
    sequences = list(next(iter(results.values())))
    lines = ["| sequence | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for sequence in sequences:
        lines.append(f"| {sequence} | " + " | ".join(_cell(results[name][sequence]) for name in names) + " |")
    means = [tuple(np.mean(list(results[name].values()), axis=0)) for name in names]
    lines.append("| **mean** | " + " | ".join(f"**{_cell(mean)}**" for mean in means) + " |")
    lines.append("| temperature | " + " | ".join(f"{temperatures[name]:g}" for name in names) + " |")
    return "\n".join(lines)


def _cell(scores: tuple[float, ...]) -> str:
    return " / ".join(f"{100 * value:.1f}" for value in scores)


if __name__ == "__main__":
    main()
