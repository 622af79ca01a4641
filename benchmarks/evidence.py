"""What the witnesses beside matching are worth in O-VOS, on videos whose masks are known without a label.

    python benchmarks/evidence.py CLIPS [--weights phi.safetensors] [--videos 12] [--frames 48] [--size 288] [--seed 0]

Three sets. `pasted`: an object of one clip, cut out by its motion prior, moves over another clip, so that real bodies
bend and turn before real backgrounds, beside whatever moves there. `crossing`: three drawn objects that cross
(`mug synth`). `resting`: two drawn objects on a background that only the camera moves (`mug synth --resting`). Prints a
Markdown table: mean J in per cent over the frames after the first and over objects, and the seconds a frame took;
`past` is the causal form.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from downstream.backbones.by_name import open_backbone
from downstream.backbones.names import OURS
from downstream.calibrate import Recorder
from downstream.metrics.region import jaccard
from downstream.one_shot.motion import whole_video
from downstream.one_shot.propagator import Propagator
from downstream.one_shot.protocols import PRESETS
from mug.media.video import Video, find_videos
from mug.priors import motion_prior
from mug.run.progress import track
from mug.synth.videos import load_textures, synthetic_video

Clip = tuple[np.ndarray, np.ndarray]
"""Frames (T, H, W, 3) uint8 RGB and their masks (T, H, W) uint8."""
WAYS = {
    "matching alone": ("none", "ridge", False),
    "motion": ("motion", "ridge", False),
    "appearance": ("appearance", "ridge", False),
    "appearance, gaussian": ("appearance", "gaussian", False),
    "both": ("both", "ridge", False),
    "both, gaussian": ("both", "gaussian", False),
    "both, past": ("both", "ridge", True),
}
AREA = (0.01, 0.25)
"""Shares of the frame between which an object that is cut out stays throughout."""


class InMemory(Video):
    """Frames as a video."""

    def __init__(self, frames: np.ndarray) -> None:
        self._frames = frames
        self.frame_names, self.size, self.fps = [str(i) for i in range(len(frames))], frames.shape[1:3], 24.0

    def _frame(self, index: int) -> np.ndarray:
        return self._frames[index]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips", type=Path, help="folder of unlabeled videos")
    parser.add_argument("--weights", type=Path, default=None)
    parser.add_argument("--videos", type=int, default=12)
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--size", type=int, default=288)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    backbone = open_backbone(OURS, options.weights)
    config = replace(PRESETS["mug"], size=options.size, temperature=backbone.temperature)
    sets = {"pasted": pasted, "crossing": crossing, "resting": resting}
    table: dict[str, dict[str, list[float]]] = {way: {name: [] for name in sets} for way in WAYS}
    seconds = dict.fromkeys(WAYS, 0.0)
    count = 0
    for name, make in sets.items():
        for frames, masks in track(make(options), name, options.videos):
            recorded = Recorder(backbone.extract)
            count += len(frames)
            for way, (evidence, looks, past) in WAYS.items():
                motion = None if past else whole_video(InMemory(frames))
                heard = replace(config, evidence=evidence, appearance=looks)
                propagator = Propagator(recorded.replay(), heard, motion=motion)
                start = time.perf_counter()
                results = [propagator.step(frame, None if t else masks[0]) for t, frame in enumerate(frames)]
                seconds[way] += time.perf_counter() - start
                table[way][name].append(mean_j(results[1:], masks[1:]))
    print("| | " + " | ".join(sets) + " | s a frame, backbone apart |\n" + "|---" * (len(sets) + 2) + "|")
    for way, columns in table.items():
        if way == next(iter(WAYS)):
            seconds[way] = float("nan")  # it records the features
        values = " | ".join(f"{100 * np.mean(scores):.1f}" for scores in columns.values())
        print(f"| {way} | {values} | {seconds[way] / count:.2f} |")


def mean_j(results: Sequence[np.ndarray], masks: np.ndarray) -> float:
    """Over frames and objects."""
    objects = [i for i in np.unique(masks[0]) if i]
    return float(np.mean([jaccard(r == i, m == i) for r, m in zip(results, masks, strict=True) for i in objects]))


def crossing(options: argparse.Namespace) -> Iterator[Clip]:
    """Three drawn objects."""
    for index in range(options.videos):
        yield synthetic_video(np.random.default_rng([options.seed, 1, index]), options.frames, 192, 288, 3)


def resting(options: argparse.Namespace) -> Iterator[Clip]:
    """Two drawn objects at rest."""
    textures = load_textures()
    for index in range(options.videos):
        rng = np.random.default_rng([options.seed, 2, index])
        yield synthetic_video(rng, options.frames, 192, 288, 2, textures, resting=True)


def pasted(options: argparse.Namespace) -> Iterator[Clip]:
    """Objects of clips on other clips."""
    rng = np.random.default_rng([options.seed, 3])
    videos = find_videos(options.clips)
    order = [videos[i] for i in rng.permutation(len(videos)) if len(videos[i]) >= options.frames // 2]
    cuts = (cut for cut in (cut_out(video, options.frames) for video in order) if cut is not None)
    for (frames, alpha), background in islice(zip(cuts, reversed(order), strict=False), options.videos):
        yield paste(frames, alpha, _frames(background, options.frames), rng)


def cut_out(video: Video, most: int) -> Clip | None:
    """Frames of a clip and the opacity (T, H, W) in [0, 1] of what moves there; None where that is no single thing."""
    frames = _frames(video, most)
    alpha = []
    for map_hw in motion_prior(video, range(len(frames))):
        mask = (map_hw > 127).astype(np.uint8)
        count, parts, stats, _ = cv2.connectedComponentsWithStats(mask)
        if count < 2:
            return None
        largest = parts == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
        alpha.append(cv2.GaussianBlur(largest.astype(np.float32), (0, 0), 1.0))
    area = np.array([(a > 0.5).mean() for a in alpha])
    steady = AREA[0] < area.min() and area.max() < min(AREA[1], 4 * area.min())
    return (frames, np.stack(alpha)) if steady else None


def paste(frames: np.ndarray, alpha: np.ndarray, background: np.ndarray, rng: np.random.Generator) -> Clip:
    """Puts what was cut out somewhere else on the background, mirrored or not, and gives its masks."""
    length, (height, width) = min(len(frames), len(background)), background.shape[1:3]
    y, x = (axis.mean() for axis in np.nonzero(alpha[0] > 0.5))
    mirror, scale = rng.choice([-1.0, 1.0]), rng.uniform(0.7, 1.2) * height / frames.shape[1]
    place = (0.5 + rng.uniform(-0.25, 0.25), 0.5 + rng.uniform(-0.15, 0.15))
    move = np.array(
        [[mirror * scale, 0, place[0] * width - mirror * scale * x], [0, scale, place[1] * height - scale * y]]
    )
    out, masks = background[:length].copy(), np.zeros((length, height, width), np.uint8)
    for t in range(length):
        shape, body = (cv2.warpAffine(image[t], move, (width, height)) for image in (alpha, frames))
        out[t] = np.rint(out[t] + shape[..., None] * (body.astype(np.float32) - out[t]))
        masks[t] = shape > 0.5
    return out, masks


def _frames(video: Video, most: int) -> np.ndarray:
    return np.stack([frame for _, frame in zip(range(most), video, strict=False)])


if __name__ == "__main__":
    main()
