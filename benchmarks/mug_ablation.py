"""What each part of MuG is worth: the paper's Table 1, trained at a size that two cores do in a night.

    python benchmarks/mug_ablation.py --videos CLIPS --davis DAVIS --out runs/ablation --seeds 0 1 2

Every row is a pretraining run that differs from `one round` in what its name says. It is scored on all sequences: in
O-VOS by matching alone, presets `mug` and `paper`, on every other frame and at the temperature that suits the row best
on synthetic videos; in Z-VOS in the paper's mode, raw and after the CRF, on one frame in twenty. Rows that warm up
alike share these steps, which are the same to the last bit, and a later round goes on from the round before. What was
stopped goes on where it was; the tables of what is there are written to standard output after each row.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from one_shot_baselines import score as score_one_shot
from torch import Tensor

from downstream.backbones.features import PhiFeatures
from downstream.calibrate import best_temperature, calibration_clips, score_temperatures
from downstream.data.kinds import open_dataset
from downstream.metrics.region import jaccard
from downstream.one_shot.propagator import Propagator
from downstream.one_shot.protocols import PRESETS
from downstream.zero_shot.options import ZeroShotConfig
from downstream.zero_shot.sight import MugSight
from mug.checkpoint import load_weights
from mug.command.options import parse
from mug.media.files import atomic_path
from mug.media.masks import VOID
from mug.media.refine import Refinement, refine
from mug.media.video import Video, find_videos
from mug.networks.classifier import open_classifier
from mug.networks.names import IMAGENET
from mug.precision import has_units
from mug.priors import PRIORS
from mug.priors.cam import cam_prior
from mug.run.folder import RunFolder, claim
from mug.run.progress import track
from pretrain.options import FREE_KEYS, Kind, PretrainOptions
from pretrain.prior_cache import cache_priors
from pretrain.train import pretrain
from pretrain.videos import VideoIndex

SIZE = 240
"""Pixels of the frames' shorter side when rows are scored."""
MATCHED_EVERY = 2
"""One frame in so many goes through O-VOS."""
READ_EVERY = 20
"""One frame in so many is scored in Z-VOS; the CRF takes most of the time."""
REFINEMENTS: Mapping[str, Refinement] = {"raw": "none", "CRF": "crf"}
SMALL = ("--sample.size", "96", "--batch", "8", "--bootstrap.stride", "16")
"""What makes a row cheap."""

Scores = dict[str, dict[str, float]]
"""J of each sequence by what was measured."""


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    options: tuple[str, ...] = ()
    """In what its training differs."""
    prior: Kind = "motion"
    """Kind of the initial maps."""
    rounds: int = 1
    after: str = ""
    """The row whose training it goes on from, with the steps that both have."""


ROWS: Mapping[str, Row] = {
    "one round": Row(),
    "w/o frame term": Row(("--loss.frame", "0"), after="one round"),
    "w/o any map (frame, readout)": Row(("--loss.frame", "0", "--loss.readout", "0"), after="one round"),
    "w/o short term": Row(("--loss.short", "0"), after="one round"),
    "w/o long term": Row(("--loss.long", "0"), after="one round"),
    "w/o video term": Row(("--loss.video", "0"), after="one round"),
    "w/o known warps after the warm-up": Row(("--loss.warp", "0"), after="one round"),
    **{
        f"w/o known warps after the warm-up, w/o {term} term": Row(
            ("--loss.warp", "0", f"--loss.{term}", "0"), after="one round"
        )
        for term in ("short", "long", "video")
    },
    "w/o known warps, no warm-up": Row(("--loss.warp", "0", "--warmup.steps", "0")),
    "two rounds": Row(rounds=2, after="one round"),
    "three rounds": Row(rounds=3, after="two rounds"),
    "maps of manifold ranking": Row(prior="manifold-ranking", after="one round"),
    "maps of CAM (weak)": Row(prior="cam", after="one round"),
    "maps of CAM and motion (weak)": Row(prior="motion-cam", after="one round"),
}


@dataclass(frozen=True)
class Bench:
    """What all rows have in common."""

    videos: Path
    davis: Path
    out: Path
    config: Path
    warmup: int
    steps: int
    map_stride: int
    more: tuple[str, ...]

    def options(self, name: str, seed: int) -> PretrainOptions:
        """The training of a row."""
        row = ROWS[name]
        rounds = [self.warmup + self.steps] + [self.steps] * (row.rounds - 1)
        words = (
            "--config", self.config, "--videos", self.videos, "--out", self.folder(name, seed), "--seed", seed,
            "--index_cache", self.out / "videos", "--maps", self.maps(row.prior), "--rounds", rounds,
            # without maps, so that rows with any maps can share it
            "--warmup.steps", self.warmup, "--warmup.loss.frame", 0, "--warmup.loss.readout", 0,
            "--schedule.each_round", "true", "--save_every", self.warmup, "--retrieval_every", 0, "--share_every", 20,
            *self.more, *row.options,
        )  # fmt: skip
        options: PretrainOptions = parse("mug_ablation", PretrainOptions, (), [str(word) for word in words])
        return options

    def folder(self, name: str, seed: int) -> Path:
        """Where a row's run lies."""
        return self.out / f"{name.replace('/', '').replace(' ', '_')}-{seed}"

    def maps(self, prior: str) -> Path:
        """Where the initial maps of a kind lie."""
        return self.out / "priors" / prior


def main() -> None:
    """Trains and scores what is not there yet, and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, required=True, help="unlabeled videos to train on")
    parser.add_argument("--davis", type=Path, required=True, help="data set in DAVIS layout to score on")
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--config", type=Path, default=Path("configs/pretrain/mug_resnet18_cpu.yaml"))
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--priors", nargs="*", default=["motion", "saliency", "manifold-ranking", "cam", "motion-cam"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--warmup", type=int, default=300, help="steps on known warps alone")
    parser.add_argument("--map_stride", type=int, default=4, help="one frame in so many gets an initial map")
    parser.add_argument("--steps", type=int, default=100, help="steps of a round after that")
    arguments, more = parser.parse_known_args()
    bench = Bench(
        *(getattr(arguments, name) for name in ("videos", "davis", "out", "config", "warmup", "steps", "map_stride")),
        more=(*SMALL, *more),
    )
    results: dict[str, dict[int, Scores]] = {}
    for seed in arguments.seeds:  # seed by seed: what is stopped halfway compares all rows
        for name in arguments.rows:
            results.setdefault(name, {})[seed] = trained_and_scored(bench, name, seed)
            print(f"\nseed {seed}, {name}\n\n{table(results)}", flush=True)
    initial = {
        f"initial maps: {kind}": {0: once(bench.out / f"maps-{kind}.json", partial(score_maps, bench.davis, kind))}
        for kind in arguments.priors
    }
    if initial:
        print("\n" + table(initial))


def trained_and_scored(bench: Bench, name: str, seed: int) -> Scores:
    """The scores of a row, trained and measured once."""
    options, row = bench.options(name, seed), ROWS[name]
    file = options.out / "scores.json"
    if not file.is_file():
        index = VideoIndex.build(options.videos, options.index_cache or options.out)
        cache_priors([video.open() for video in index], bench.maps(row.prior), row.prior, bench.map_stride)
        if not options.out.exists():
            claim(options, FREE_KEYS)
            if row.after:
                begin_where_the_other_is(bench, row, options)
        pretrain(options)
    return once(file, partial(score_weights, bench.davis, options.out / "phi.safetensors"))


def begin_where_the_other_is(bench: Bench, row: Row, options: PretrainOptions) -> None:
    """Gives a run the checkpoint of the run that it has its first steps in common with."""
    step = bench.warmup + (row.rounds - 1) * bench.steps
    before, here = RunFolder(bench.folder(row.after, options.seed)), RunFolder(options.out)
    here.checkpoints.mkdir(parents=True, exist_ok=True)
    shutil.copy(before.checkpoints / f"step{step:07d}.pt", here.checkpoints)


def once(file: Path, measure: Callable[[], Scores]) -> Scores:
    """What a file says, or else what is measured, which is then written to it."""
    if not file.is_file():
        scores = measure()
        with atomic_path(file) as temporary:
            temporary.write_text(json.dumps(scores, indent=1))
    loaded: Scores = json.loads(file.read_text())
    return loaded


def score_weights(davis: Path, weights: Path) -> Scores:
    """J of O-VOS and Z-VOS on every sequence."""
    model = load_weights(weights)[0].eval()
    features, videos, scores = PhiFeatures(model.phi), find_videos(davis), {}

    def extract(frame_b3hw: Tensor) -> Tensor:
        with in_bfloat16():
            return features(frame_b3hw)

    matching = replace(PRESETS["mug"], size=None, evidence="none")
    suited = best_temperature(score_temperatures(extract, matching, calibration_clips()))
    protocols = {"mug": replace(matching, size=SIZE), "paper": PRESETS["paper"]}
    for preset, protocol in protocols.items():
        propagator = Propagator(extract, replace(protocol, temperature=suited))
        scores[f"O-VOS, `{preset}`"] = {
            video.name: score_one_shot(video, propagator, MATCHED_EVERY)[0] for video in track(videos, preset)
        }

    def read(video: Video, indices: Sequence[int]) -> Iterator[np.ndarray]:
        with in_bfloat16():
            sight = MugSight(video, model, SIZE, ZeroShotConfig.references)
        for index in indices:
            with in_bfloat16():
                cells = sight.read(sight.augmented(index, video[index]))
            yield cv2.resize(cells, video.size[::-1], interpolation=cv2.INTER_LINEAR)

    return scores | score_zero_shot(davis, read)


def in_bfloat16() -> torch.autocast:
    """What runs phi at half the cost where the processor can."""
    return torch.autocast("cpu", torch.bfloat16, enabled=has_units("cpu"))


def score_maps(davis: Path, kind: str) -> Scores:
    """J of initial maps."""
    prior = PRIORS.get(kind)
    if prior is None:
        prior = partial(cam_prior, classifier=open_classifier(IMAGENET), moving=kind == "motion-cam")

    def read(video: Video, indices: Sequence[int]) -> Iterator[np.ndarray]:
        for index, soft in enumerate(prior(video, None)):  # of all frames, which decide together
            if index in indices:
                yield soft / np.float32(255)

    return score_zero_shot(davis, read)


def score_zero_shot(davis: Path, maps: Callable[[Video, Sequence[int]], Iterator[np.ndarray]]) -> Scores:
    """J of maps in [0, 1], given for some frames of a video, as they are and refined."""
    dataset = open_dataset(davis)
    scores: Scores = {f"Z-VOS, {name}": {} for name in REFINEMENTS}
    for video in track(find_videos(davis), "zero-shot"):
        annotations, indices = dataset.frames(video.name), range(READ_EVERY // 2, len(video) - 1, READ_EVERY)
        values: dict[str, list[float]] = {name: [] for name in scores}
        for index, map_hw in zip(indices, maps(video, indices), strict=True):
            truth = annotations[video.frame_names[index]].read()
            for name, kind in REFINEMENTS.items():
                mask = refine(video[index], map_hw, kind) > 0.5
                values[f"Z-VOS, {name}"].append(jaccard(mask, truth == 1, truth == VOID))
        for name, found in values.items():
            scores[name][video.name] = float(np.mean(found))
    return scores


def table(results: Mapping[str, Mapping[int, Scores]]) -> str:
    """Markdown: J in per cent, mean and spread over the seeds, and the same of its change from the first row."""
    reference = results.get(next(iter(ROWS)))
    columns = list(next(iter(next(iter(results.values())).values())))
    ends = " | ".join(columns) + (" | " + " | ".join(f"change in {c}" for c in columns) if reference else "")
    lines = [f"| | seeds | {ends} |", "|---" * (ends.count("|") + 3) + "|"]
    for name, runs in results.items():
        means = {c: {seed: mean_of(scores, c) for seed, scores in runs.items()} for c in columns}
        cells = [_with_spread(list(means[c].values()), "") for c in columns]
        if reference:
            first = {c: {seed: mean_of(reference[seed], c) for seed in runs if seed in reference} for c in columns}
            cells += [_with_spread([means[c][s] - x for s, x in first[c].items()], "+") for c in columns]
        lines.append(f"| {name} | {len(runs)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def mean_of(scores: Scores, column: str) -> float:
    """Over sequences, in per cent."""
    return 100 * statistics.mean(scores[column].values())


def _with_spread(values: list[float], sign: str) -> str:
    """The mean, and the standard deviation where there are several."""
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):{sign}.1f}{spread}"


if __name__ == "__main__":
    main()
