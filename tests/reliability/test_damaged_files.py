"""Damaged files of every format that is read: they are read or refused in one line, soon and within bounded memory.

A plain run tries 100 files a format, always the same; `MUG_FUZZ_CASES=2000` tries as many.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from agnn_head.checkpoint import load_weights as load_agnn
from agnn_head.options import AGNNConfig
from downstream.data.kinds import open_dataset
from downstream.demo import RECORD, take_up
from downstream.options import CalibrateOptions
from downstream.report import (
    ReportOptions,
    report,
)
from mug.checkpoint import load_weights
from mug.command.options import parse
from mug.media.masks import read_binary, read_mask, read_soft, write_mask
from mug.media.overlay import OverlayWriter
from mug.media.pictures import is_whole, picture_size, read_frame
from mug.media.results import Results
from mug.media.video import open_video
from mug.networks.tensors import read_tensors
from mug.options import ModelConfig
from mug.run.checkpoints import Checkpoints
from mug.run.folder import RunFolder
from tests.reliability.damage import answered, bounded, damaged, in_time

CASES = int(os.environ.get("MUG_FUZZ_CASES", 100))
RUN: dict[str, Any] = {"out": "runs/a", "engine": {"threads": 2, "rates": [1, 2]}, "seed": 0}
"""The configuration of a run."""


class Format(NamedTuple):
    """A format.

    Attributes:
        valid: Makes the content of a valid file.
        path: Where readers look for it.
        readers: What reads it, given the path; the first takes the valid file.
    """

    valid: Callable[[Path], bytes]
    path: str
    readers: tuple[Callable[[Path], object], ...]


def encoded(image: Image.Image, kind: str, **how: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **how)
    return buffer.getvalue()


def mask_png(folder: Path) -> bytes:
    write_mask(folder / "mask.png", (np.arange(12 * 16) // 40).astype(np.uint8).reshape(12, 16))
    return (folder / "mask.png").read_bytes()


def colours() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (12, 16, 3), dtype=np.uint8))


def movie(folder: Path) -> bytes:
    with OverlayWriter(folder / "clip.mp4", 24, (32, 48)) as writer:
        for number in range(4):
            writer.write(np.full((32, 48, 3), 60 * number, np.uint8), np.zeros((32, 48), np.uint8))
    return (folder / "clip.mp4").read_bytes()


def watch(path: Path) -> object:
    """All frames of a video in order, and its last and first by themselves."""
    video = open_video(path)
    return [video[-1], video[0], sum(1 for _ in video)]


def configuration(_: Path) -> bytes:
    options = dataclasses.asdict(CalibrateOptions(Path("phi.safetensors")))
    return commented({key: value for key, value in options.items() if key != "weights"})


def commented(content: dict[str, Any]) -> bytes:
    """As users write it; damage to a comment does no harm."""
    return f"{'# what this run is for, in words' * 8}\n{yaml.safe_dump(content)}".encode()


def as_options(path: Path) -> object:
    return parse("mug calibrate", CalibrateOptions, ("weights",), ["phi", "--config", str(path)])


def as_run(path: Path) -> object:
    folder = RunFolder(path.parent)
    folder.recorded("engine", "threads")
    return folder.claim(RUN)


def scores(_: Path) -> bytes:
    mean = {"mean": 0.5, "recall": 0.6, "decay": 0.1}
    sequence = {"J": mean | {"frames": [0.5, 0.5]}, "F": mean, "T": {"mean": 0.1}}
    return json.dumps(
        {"task": "zero-shot", "gt": "/nowhere", "pred": "/nowhere", "J": mean, "F": mean, "T": {"mean": 0.1},
         "J&F": 0.5, "counts": {"frames": 2}, "sequences": {"dog": sequence}}
    ).encode()  # fmt: skip


def as_page(path: Path) -> object:
    return report(ReportOptions(path, path.with_name("page.html")))


def record(folder: Path) -> bytes:
    results = Results(folder, ["dog"], {"mode": "paper", "sizes": [1, 2]})
    with results.sequence("dog"):
        results.write_mask("dog", "00000", np.zeros((2, 2), np.uint8))
    return (folder / ".dog.json").read_bytes()


def as_record(path: Path) -> object:
    return Results(path.parent, ["dog"], {"mode": "paper", "sizes": [1, 2]}, resume=True)


def meta(folder: Path) -> bytes:
    for kind, suffix in (("JPEGImages", "jpg"), ("Annotations", "png")):
        path = folder / f"train/{kind}/a/00000.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        colours().convert("L" if suffix == "png" else "RGB").save(path)
    return json.dumps({"videos": {"a": {"objects": {"1": {"category": "dog", "frames": ["00000"]}}}}}).encode()


def as_dataset(path: Path) -> object:
    dataset = open_dataset(path.parent.parent, "youtube-vos")
    return [list(dataset.frames(name)) for name in dataset.sequences("train")]


def weights(_: Path) -> bytes:
    note = {"config": json.dumps(dataclasses.asdict(ModelConfig())), "version": "0.2"}
    return safetensors.torch.save({"phi.a": torch.ones(2, 3), "b": torch.ones(3)}, note)


def agnn_weights(_: Path) -> bytes:
    note = {"architecture": "agnn", "config": json.dumps(dataclasses.asdict(AGNNConfig()))}
    return safetensors.torch.save({"a": torch.ones(2)}, note)


def checkpoint(_: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save({"step": 3, "model": {"a.weight": torch.ones(2, 3)}, "optimiser": {"state": {}}}, buffer)
    return buffer.getvalue()


FORMATS = {
    "PNG, indexed": Format(mask_png, "mask.png", (read_mask, read_binary, read_soft, picture_size, is_whole)),
    "PNG, colours": Format(lambda _: encoded(colours(), "PNG"), "frame.png", (read_frame, read_mask, picture_size)),
    "JPEG": Format(
        lambda _: encoded(colours(), "JPEG", quality=90),
        "frame.jpg",
        (read_frame, lambda path: read_frame(path, 4), read_mask, picture_size, is_whole),
    ),
    "mp4": Format(movie, "clip.mp4", (watch,)),
    "YAML, options": Format(configuration, "options.yaml", (as_options,)),
    "YAML, run": Format(lambda _: commented(RUN), "config.yaml", (as_run,)),
    "JSON, scores": Format(scores, "scores.json", (as_page,)),
    "JSON, record": Format(record, ".dog.json", (as_record,)),
    "JSON, dataset": Format(meta, "train/meta.json", (as_dataset,)),
    "JSON, demo": Format(
        lambda _: b'{"quick": true, "steps": {"a": {"command": "mug synth", "seconds": 1.5}}}',
        RECORD,
        (lambda path: take_up(path.parent, True),),
    ),
    "safetensors": Format(weights, "phi.safetensors", (read_tensors, load_weights)),
    "safetensors, AGNN": Format(agnn_weights, "agnn.safetensors", (read_tensors, load_agnn)),
    "checkpoint": Format(
        checkpoint, "step0000003.pt", (read_tensors, lambda path: Checkpoints(path.parent).load())
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files_are_read_or_refused(name: str, tmp_path: Path) -> None:
    kind = FORMATS[name]
    valid, path = kind.valid(tmp_path), tmp_path / kind.path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(valid)
    assert answered(lambda: kind.readers[0](path))
    refused = []

    @settings(
        max_examples=CASES, deadline=None, derandomize=True, database=None, print_blob=False,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(damaged(valid), st.integers(0, len(kind.readers) - 1))
    def every(content: bytes, number: int) -> None:
        path.write_bytes(content)
        with in_time():
            refused.append(not answered(lambda: kind.readers[number](path)))

    with bounded(name):
        every()
    print(f"{name}: {sum(refused)} of {len(refused)} refused")
    assert any(refused)
