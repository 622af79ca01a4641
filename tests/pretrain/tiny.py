"""A pretraining run of a few seconds, its videos, and its log."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from mug.options import BackboneConfig, LossWeights, ModelConfig
from mug.run.folder import claim
from mug.run.options import Engine, OptimiserOptions
from pretrain import train
from pretrain.options import FREE_KEYS, LabelOptions, PretrainOptions, WarmupOptions
from pretrain.sampling import SampleOptions


def tiny(videos: Path, out: Path, devices: int = 1) -> PretrainOptions:
    """A run of a few seconds in which everything happens: two rounds, warm-up, checkpoints, pictures."""
    return PretrainOptions(
        videos=videos,
        out=out,
        model=ModelConfig(BackboneConfig(depth=18, stages=2, stride=8)),
        sample=SampleOptions(size=64, abstract=2, references=1),
        bootstrap=LabelOptions(stride=6),
        optimiser=OptimiserOptions(kind="adamw", lr=1e-3),
        loss=LossWeights(warp=0.5),
        warmup=WarmupOptions(steps=1),
        rounds=[3, 2],
        batch=4,
        engine=Engine(device="cpu", devices=devices, threads=1, precision="32-true"),
        workers=0,
        save_every=2,
        picture_every=4,
        share_every=2,
        retrieval_every=2,
    )


def make_videos(folder: Path) -> Path:
    """Five videos of eight small frames, a bright square moving over noise."""
    rng = np.random.default_rng(0)
    for video in range(5):
        background = rng.integers(0, 120, size=(12, 16, 3), dtype=np.uint8).repeat(6, 0).repeat(6, 1)
        for index in range(8):
            frame = background.copy()
            frame[20:50, 8 + 5 * index : 38 + 5 * index] += np.uint8(130)
            path = folder / f"square{video}" / f"{index:05d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(frame).save(path)
    return folder


def set_up(options: PretrainOptions) -> train.Run:
    """A run ready for its first step."""
    return train.setup(options, claim(options, FREE_KEYS))


def rows(run: Path) -> list[dict[str, float]]:
    """What a run logged, a row for each step."""
    with (run / "metrics.csv").open() as file:
        return [{name: float(value or "nan") for name, value in row.items()} for row in csv.DictReader(file)]
