"""What holds for every system that can be trained: from its weights to masks, and all that goes wrong on the way."""

from __future__ import annotations

import csv
import gc
import json
import os
import socket
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import safetensors
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from downstream import finetune as command
from downstream.systems.base import SYSTEMS, Task, open_part, part_of
from mug.checkpoint import packaged_weights
from mug.checkpoint import save_weights as save_mug
from mug.cli import main
from mug.command.options import parse
from mug.lazy import resolve
from mug.media.masks import write_mask
from mug.media.refine import CRF_PRESETS
from mug.media.video import Video
from mug.model import MuG
from mug.options import BackboneConfig, ModelConfig
from tests.downstream.systems.small import BRIEFLY, TRAINING
from tests.squares import write_squares

Squares = Callable[..., Path]
Make = Callable[[str], Path]

COMMANDS: dict[Task, str] = {"zero_shot": "segment", "one_shot": "propagate"}


@pytest.fixture(scope="module")
def phi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "phi.safetensors"
    save_mug(path, MuG(ModelConfig(BackboneConfig(depth=18, stages=2, stride=8))).eval(), {})
    return path


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four videos of two moving squares."""
    return write_squares(tmp_path_factory.mktemp("data"), videos=4, frames=8, objects=2)


def system_of(label: str) -> str:
    """The system of an entry of `TRAINING`."""
    return label.partition(",")[0]


def training(label: str, phi: Path, *words: object) -> int:
    """A short training."""
    more = (*TRAINING[label], *BRIEFLY, "--weights", phi, *words)
    return main(["finetune", system_of(label), *(str(word) for word in more)])


@pytest.fixture(scope="module")
def weights(phi: Path, squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Weights of a system after one step."""

    @cache
    def make(label: str) -> Path:
        out = tmp_path_factory.mktemp("run") / "run"
        assert training(label, phi, "--data", squares, "--steps", 1, "--out", out) == 0
        return out / f"{system_of(label)}.safetensors"

    return make


def tasks(label: str) -> Sequence[Task]:
    """The tasks that the weights of an entry are for; a label may name one of them."""
    _, _, named = label.partition(", ")
    system = resolve(SYSTEMS[system_of(label)])
    found: list[Task] = [task for task in COMMANDS if getattr(system, task) is not None]
    return [task for task in found if not named or task == named.replace("-", "_")]


RUNS = [(label, task) for label in TRAINING for task in tasks(label)]


def test_every_system_that_can_be_trained_is_tested_here() -> None:
    trained = {name for name, place in SYSTEMS.items() if resolve(place).training is not None}
    assert {system_of(label) for label in TRAINING} == trained
    for name in trained:
        system = resolve(SYSTEMS[name])
        assert {task for label, task in RUNS if system_of(label) == name} == {
            task for task in COMMANDS if getattr(system, task) is not None
        }
        assert resolve(system.format).name == name


@pytest.mark.parametrize("label", TRAINING)
def test_a_training_that_was_stopped_goes_on_to_the_digit(
    moving_squares: Squares, phi: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, label: str
) -> None:
    words = ("--data", moving_squares(videos=3, frames=6, objects=2), "--steps", 5)
    assert training(label, phi, *words, "--out", tmp_path / "whole") == 0
    step = command.train_step

    def stopped(run: command.Run, number: int, *rest: object) -> object:
        if number == 3:
            raise KeyboardInterrupt
        return step(run, number, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(command, "train_step", stopped)
    assert training(label, phi, *words, "--out", tmp_path / "stopped") == 130
    monkeypatch.setattr(command, "train_step", step)
    assert training(label, phi, *words, "--out", tmp_path / "stopped") == 0
    whole, again = (tmp_path / name for name in ("whole", "stopped"))
    assert (whole / "metrics.csv").read_text() == (again / "metrics.csv").read_text()
    tensors, repeated = (load_file(run / f"{system_of(label)}.safetensors") for run in (whole, again))
    assert all(torch.equal(x, repeated[name]) for name, x in tensors.items())


WEIGHTED = {"hcpn": {"mask": 1, "contour": 1}, "rvos": {"mask": 1, "stop": 0.5}, "agame": {"mask": 1, "coarse": 1}}
"""The terms of a system's loss and their weights by default."""


@pytest.mark.parametrize("label", TRAINING)
def test_metrics_hold_the_terms_of_the_loss(weights: Make, label: str) -> None:
    expected = WEIGHTED.get(system_of(label), {})
    with open(weights(label).parent / "metrics.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert set(row) == {*command.COLUMNS, *expected}
    if expected:
        found = {name: float(row[name] or "0") for name in expected}  # RVOS has no stop score in one-shot
        assert found["mask"] > 0
        assert sum(weight * found[name] for name, weight in expected.items()) == pytest.approx(float(row["video"]))


@pytest.fixture(scope="module")
def together(phi: Path, squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the run of each system, trained by two processes, which start once for all of them."""
    out = tmp_path_factory.mktemp("together")
    places = {label: str(out / label) for label in TRAINING}
    trainings = [[*exactly(label, phi, squares), "--engine.devices=2", "--out", places[label]] for label in TRAINING]
    ports = free_ports(len(trainings))

    def start(rank: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.downstream.systems.one_after_another", json.dumps([trainings, ports])]
        return subprocess.Popen(command, env=os.environ | {"MASTER_ADDR": "127.0.0.1", "LOCAL_RANK": str(rank)})

    assert [child.wait(400) for child in [start(0), start(1)]] == [0, 0]
    return out


def exactly(label: str, phi: Path, data: Path) -> list[str]:
    """A short training in double precision, as on the command line."""
    words = ("--data", data, "--weights", phi, "--steps", 2, "--engine.precision=64-true")
    return ["finetune", system_of(label), *TRAINING[label], *BRIEFLY, *(str(word) for word in words)]


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nothing listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@pytest.mark.parametrize("label", TRAINING)
def test_two_processes_train_to_the_losses_of_one(
    phi: Path, squares: Path, together: Path, tmp_path: Path, label: str
) -> None:
    assert main([*exactly(label, phi, squares), "--out", str(tmp_path / "one")]) == 0
    one, two = (list(csv.DictReader((run / "metrics.csv").open())) for run in (tmp_path / "one", together / label))
    for alone, both in zip(one, two, strict=True):
        for name in ("video", "iou", "grad_norm"):
            assert float(both[name]) == pytest.approx(float(alone[name]), rel=0, abs=1e-5), (alone["step"], name)


@pytest.mark.parametrize(("label", "task"), RUNS)
@pytest.mark.parametrize("frames", [1, 4])
def test_every_frame_gets_a_mask_of_its_size(
    moving_squares: Squares, weights: Make, tmp_path: Path, label: str, task: Task, frames: int
) -> None:
    root = moving_squares(videos=1, frames=frames, height=50, width=70, objects=2)
    words = [COMMANDS[task], root, "--system", system_of(label), "--weights", weights(label), "--device", "cpu"]
    assert main([*(str(word) for word in words), "--out", str(tmp_path / "out")]) == 0
    masks = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "out/square0").iterdir())]
    assert [mask.shape for mask in masks] == [(50, 70)] * frames
    assert set(np.unique(masks)) <= ({0, 1} if task == "zero_shot" else {0, 1, 2})
    if task == "one_shot":
        given = np.asarray(Image.open(root / "Annotations/480p/square0/00000.png"))
        assert (masks[0] == given).mean() > 0.95


@pytest.mark.parametrize("label", [label for label, task in RUNS if task == "zero_shot"])
def test_maps_are_refined_by_the_crf_of_the_paper(
    moving_squares: Squares, weights: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, label: str
) -> None:
    used = []

    def watched(frame: np.ndarray, map_hw: np.ndarray, kind: str, crf: str) -> np.ndarray:
        used.append(crf)
        return map_hw

    monkeypatch.setattr("downstream.segment.refine", watched)
    video = moving_squares(videos=1, frames=1) / "JPEGImages/480p/square0"
    words = ["segment", video, "--system", system_of(label), "--weights", weights(label), "--out", tmp_path / "out"]
    assert main([str(word) for word in words]) == 0
    own = system_of(label)
    assert used == [own if own in CRF_PRESETS else "agnn"]


@pytest.mark.parametrize("label", [label for label, task in RUNS if task == "one_shot"])
def test_eleven_objects_are_carried(moving_squares: Squares, weights: Make, tmp_path: Path, label: str) -> None:
    root = moving_squares(videos=1, frames=3)
    mask = np.zeros((48, 64), np.uint8)
    for number in range(11):
        mask[5 + 20 * (number // 6) :, 2 + 10 * (number % 6) :][:14, :8] = number + 1
    write_mask(tmp_path / "first.png", mask)
    video = root / "JPEGImages/480p/square0"
    words = ["propagate", video, "--system", system_of(label), "--weights", weights(label), "--device", "cpu"]
    words += ["--mask", tmp_path / "first.png", "--out", tmp_path / "out"]
    assert main([str(word) for word in words]) == 0
    first, *_, last = (np.asarray(Image.open(path)) for path in sorted((tmp_path / "out/square0").iterdir()))
    assert set(np.unique(first)) == set(range(12))
    assert set(np.unique(last)) <= set(range(12))


class Noise(Video):
    """Frames of noise; each is made as it is asked for."""

    def __init__(self, frames: int) -> None:
        self.path, self.name, self.fps, self.size = Path("noise"), "noise", 24.0, (24, 32)
        self.frame_names = [f"{t:05d}" for t in range(frames)]

    def _frame(self, index: int) -> np.ndarray:
        return np.random.default_rng(index).integers(0, 256, (*self.size, 3), np.uint8)


def tensor_bytes() -> int:
    """Bytes of all tensors alive."""
    gc.collect()
    storages = {x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in _tensors()}
    return sum(storages.values())


def _tensors() -> Iterator[torch.Tensor]:
    return (x for x in gc.get_objects() if type(x) in (torch.Tensor, torch.nn.Parameter))


@pytest.mark.parametrize(("label", "task"), RUNS)
def test_memory_does_not_grow_with_the_video(weights: Make, label: str, task: Task) -> None:
    """Of 600 frames; what may grow are lists of numbers, not one map of a frame each."""
    part = part_of(system_of(label), task)
    words = ("--videos", "noise", "--out", "out", "--system", system_of(label), "--weights", weights(label))
    options = parse(COMMANDS[task], part.options, (), [str(word) for word in words])
    opened = open_part(task, system_of(label), options, torch.device("cpu"))
    mask = np.zeros((24, 32), np.uint8)
    mask[4:14, 4:20] = 1
    video = Noise(600)
    found = opened.find(video) if task == "zero_shot" else opened(video, {"00000": mask})
    tracemalloc.start()
    seen = []
    for number, _ in enumerate(found):
        if number in (100, 590):
            seen.append((tensor_bytes(), tracemalloc.get_traced_memory()[0]))
    tracemalloc.stop()
    assert number == 599
    (tensors, arrays), (more_tensors, more_arrays) = seen
    assert more_tensors - tensors < 490 * 64
    assert more_arrays - arrays < 490 * 400


@pytest.mark.parametrize(("label", "task"), RUNS)
def test_weights_that_will_not_do_are_refused(
    moving_squares: Squares, weights: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str], label: str, task: Task
) -> None:
    root, system, good = moving_squares(videos=1, frames=2), system_of(label), weights(label)
    with safetensors.safe_open(good, "pt") as file:
        note = file.metadata()
    tensors = load_file(good)
    first = next(name for name, x in tensors.items() if x.is_floating_point())
    files = {name: tmp_path / f"{name}.safetensors" for name in ("absent", "cut", "strange", "nan")}
    files["cut"].write_bytes(good.read_bytes()[:999])
    save_file(tensors | {"strange": torch.ones(1)}, files["strange"], note)
    save_file(tensors | {first: torch.full_like(tensors[first], torch.nan)}, files["nan"], note)
    told = {"absent": "no such file", "cut": "damaged", "strange": "another architecture", "nan": "not finite"}
    refused = [(files[name], text) for name, text in told.items()]
    refused.append((packaged_weights(), f"holds no {system}"))
    for path, text in refused:
        words = [COMMANDS[task], root, "--system", system, "--weights", path, "--out", tmp_path / "out"]
        assert main([str(word) for word in words]) == 2, path
        told_line = capsys.readouterr().err.strip().splitlines()[-1]
        assert path.name in told_line and text in told_line
    words = [COMMANDS[task], root, "--system", system, "--out", tmp_path / "out"]
    assert main([str(word) for word in words]) == 2
    assert f"mug finetune {system}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("label", TRAINING)
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--steps", 0), "steps: 0 is too few"),
        (("--trunk_rate", -1), "trunk_rate: -1"),
        (("--start", "absent.safetensors"), "absent.safetensors: no such file"),
        (("--data", "nowhere"), "nowhere"),
    ],
)
def test_trainings_that_will_not_do_are_refused(
    moving_squares: Squares,
    phi: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    label: str,
    words: tuple[object, ...],
    told: str,
) -> None:
    system = system_of(label)
    root = moving_squares(videos=2, frames=3)
    small = BRIEFLY if "--start" in words else (*TRAINING[label], *BRIEFLY, "--weights", str(phi))
    more = [*small, "--data", root, "--steps", 1, *words, "--out", tmp_path / "run"]
    assert main(["finetune", system, *(str(word) for word in more)]) == 2
    assert told in capsys.readouterr().err.strip().splitlines()[-1]
    assert not list((tmp_path / "run").glob("*.safetensors"))


@pytest.mark.parametrize("label", TRAINING)
def test_a_later_stage_goes_on_from_an_earlier_one(
    moving_squares: Squares, weights: Make, tmp_path: Path, label: str
) -> None:
    run = tmp_path / "run"
    words = ("--data", moving_squares(videos=2, frames=6), "--start", weights(label), "--steps", 1, "--out", run)
    told = [*BRIEFLY, *(str(word) for word in words), "--optimiser.lr=0"]  # a later word overrides an earlier one
    assert main(["finetune", system_of(label), *told]) == 0
    before, after = load_file(weights(label)), load_file(run / f"{system_of(label)}.safetensors")
    kernels = [name for name, x in before.items() if x.ndim > 1]
    assert kernels and all(torch.equal(before[name], after[name]) for name in kernels)
