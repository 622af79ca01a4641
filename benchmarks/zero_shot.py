"""Z-VOS beside its own prior: the motion prior, the paper's mode and the adapted one, raw and refined.

    python benchmarks/zero_shot.py DAVIS_ROOT [--weights phi.safetensors]

The annotations of DAVIS are read for the scores only. Prints a Markdown table: J and F of each sequence in per cent
over all its frames but the first and the last, as in DAVIS-16, and the seconds a frame took in all.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from downstream.backbones.device import choose_device
from downstream.data.dataset import Annotation
from downstream.data.kinds import open_dataset
from downstream.metrics.boundary import f_measure
from downstream.metrics.region import jaccard
from downstream.zero_shot.main_object import segment_video
from downstream.zero_shot.options import ZeroShotConfig
from mug.checkpoint import load_weights
from mug.media.masks import VOID
from mug.media.refine import refine
from mug.media.video import Video, find_videos
from mug.priors import PRIORS
from mug.run.progress import track

Maps = Callable[[Video], Iterable[np.ndarray]]
Scores = dict[str, tuple[float, float]]
"""Mean J and F of each sequence."""


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, help="dataset in DAVIS layout, all frames annotated")
    parser.add_argument("--weights", type=Path, default=None, help="weights of MuG; those of the package by default")
    parser.add_argument("--size", type=int, default=ZeroShotConfig.size, help="pixels of the shorter side")
    parser.add_argument("--refine", nargs="+", default=["none", "guided"], choices=["none", "guided", "crf"])
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    model, _ = load_weights(options.weights)
    model = model.to(choose_device(options.device)).eval()

    def mode(name: str) -> Maps:
        config = ZeroShotConfig(mode=name, size=options.size)  # type: ignore[arg-type]
        return lambda video: segment_video(video, model, config)

    methods: dict[str, Maps] = {"prior": motion, "paper": mode("paper"), "adapted": mode("adapted")}
    videos = find_videos(options.root)
    truth = open_dataset(options.root)
    results: dict[str, Scores] = {}
    seconds: dict[str, float] = {}
    for name, maps in methods.items():
        start = time.perf_counter()
        scored = {v.name: score(v, truth.frames(v.name), maps(v), options.refine) for v in track(videos, name)}
        seconds[name] = (time.perf_counter() - start) / sum(len(video) for video in videos)
        for at, kind in enumerate(options.refine):
            results[f"{name}, {kind}"] = {video: values[at] for video, values in scored.items()}
    print(table(results))
    print("\nSeconds a frame, scores and refinements included: ", end="")
    print(", ".join(f"{name} {value:.2f}" for name, value in seconds.items()))


def motion(video: Video) -> Iterator[np.ndarray]:
    """The prior that the adapted mode starts from, in [0, 1]."""
    return (map_hw.astype(np.float32) / 255 for map_hw in PRIORS["motion"](video, None))


def score(
    video: Video, annotations: dict[str, Annotation], maps: Iterable[np.ndarray], kinds: list[str]
) -> list[tuple[float, float]]:
    """Mean J and F under each refinement."""
    values = []
    for index, (name, frame, map_hw) in enumerate(zip(video.frame_names, video, maps, strict=True)):
        if not 0 < index < len(video) - 1:
            continue
        truth = annotations[name].read()
        pairs = [(refine(frame, map_hw, kind) > 0.5, truth == 1, truth == VOID) for kind in kinds]  # type: ignore[arg-type]
        values.append([(jaccard(*pair), f_measure(*pair)) for pair in pairs])
    return [(float(j), float(f)) for j, f in np.mean(values, axis=0)]


def table(results: dict[str, Scores]) -> str:
    """Sequences by methods in Markdown, `J / F` in per cent."""
    sequences = list(next(iter(results.values())))
    lines = ["| sequence | " + " | ".join(results) + " |", "|---|" + "---|" * len(results)]
    for sequence in sequences:
        lines.append(f"| {sequence} | " + " | ".join(_cell(scores[sequence]) for scores in results.values()) + " |")
    means = [tuple(np.mean(list(scores.values()), axis=0)) for scores in results.values()]
    lines.append("| **mean** | " + " | ".join(f"**{_cell(mean)}**" for mean in means) + " |")
    return "\n".join(lines)


def _cell(scores: tuple[float, ...]) -> str:
    return " / ".join(f"{100 * value:.1f}" for value in scores)


if __name__ == "__main__":
    main()
