"""`mug demo`: from unlabeled video to scored masks, on synthetic videos, in a few minutes."""

from __future__ import annotations

import json
import multiprocessing
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from downstream.backbones.features import untrained_phi
from downstream.options import DemoOptions
from downstream.pages.demo import COMPETITORS, Folders, write_demo_page
from mug.checkpoint import load_weights, save_weights
from mug.cli import main
from mug.command.messages import level_words
from mug.errors import InputError, logger
from mug.frames import to_tensor
from mug.media.files import atomic_path, prepare_output, remove_partial
from mug.media.plain import read_json
from mug.media.video import find_videos

CONFIG = Path(__file__).with_name("demo.yaml")
RECORD = "demo.json"
"""File that records the finished steps with their commands and durations."""
PRELOADED = (
    "downstream.demo",
    "downstream.calibrate",
    "downstream.propagate",
    "downstream.segment",
    "mug.command.options",
)
"""Modules imported once for all commands, because importing them takes seconds."""


class Step(NamedTuple):
    """A step of the demo: a `mug` command, or a function if there is no command for it."""

    title: str
    work: tuple[str, ...] | Callable[[], None]
    result: Path
    """File or folder that exists once the step is done."""


def demo(options: DemoOptions) -> None:
    """Trains on synthetic unlabeled videos, tests on others, and writes one HTML page of results."""
    at = Folders(options.out)
    record = take_up(at.out, options.quick)
    steps = script(at, QUICK if options.quick else FULL)
    anew = False  # a repeated step makes all later steps repeat
    for number, step in enumerate(steps, 1):
        command = _spell(step)
        done = record["steps"].get(step.title)
        anew = anew or done is None or done["command"] != command or not step.result.exists()
        if not anew:
            continue
        logger.info("\n[%d/%d] %s\n    %s", number, len(steps), step.title, command)
        began = time.monotonic()
        perform(step)
        record["steps"][step.title] = {"command": command, "seconds": round(time.monotonic() - began, 1)}
        _write_record(at.out, record)
    page = write_demo_page(at, record)
    print(f"{page}: written; open it in a browser")


@dataclass(frozen=True)
class Videos:
    """Number and size of synthetic videos."""

    count: int
    frames: int
    height: int
    width: int

    @property
    def spelt(self) -> tuple[str, ...]:
        """The same as options of `mug synth`."""
        named = {"videos": self.count, "frames": self.frames, "height": self.height, "width": self.width}
        return tuple(word for name, value in named.items() for word in (f"--{name}", str(value)))


@dataclass(frozen=True)
class Size:
    """Scale of the demo."""

    train: Videos
    """Training videos."""
    test: Videos
    """Test videos."""
    changes: tuple[str, ...] = ()
    """Pretraining options that override the configuration."""
    calibration: tuple[str, ...] = ()
    """Options of `mug calibrate`."""


FULL = Size(train=Videos(48, 12, 128, 192), test=Videos(6, 12, 128, 192))
QUICK = Size(
    train=Videos(3, 8, 48, 64), test=Videos(1, 8, 48, 64),
    changes=("--sample.size", "48", "--rounds", "2", "--steps", "2", "--warmup.steps", "1",
             "--batch", "2", "--picture_every", "2", "--save_every", "2", "--workers", "0"),
    calibration=("--clips", "1"),
)  # fmt: skip


def script(at: Folders, size: Size = FULL) -> list[Step]:
    """The steps of the demo.

    Args:
        at: Output folders.
        size: Scale of the demo.
    """
    return [
        Step(
            "Make videos to learn from, without masks",
            ("synth", str(at.train), *size.train.spelt, "--seed", "1", "--unlabeled", "--overwrite"),
            at.train,
        ),
        Step(
            "Make other videos to test on, with masks",
            ("synth", str(at.test), *size.test.spelt, "--seed", "2", "--objects", "1", "--overwrite"),
            at.test,
        ),
        Step(
            "Find what moves by itself in the training videos: the priors Q",
            ("prior", str(at.train), "--stride", "4", "--out", str(at.priors("train"))),
            at.priors("train"),
        ),
        Step(
            "The same in the test videos, as the baseline of Z-VOS",
            ("prior", str(at.test), "--out", str(at.priors("test"))),
            at.priors("test"),
        ),
        Step(
            "Pretrain in two rounds, the second on maps that the first has renewed",
            ("pretrain", "--config", str(CONFIG), "--videos", str(at.train), "--maps", str(at.priors("train")),
             "--out", str(at.run), *size.changes),
            at.trained,
        ),
        Step("Make an untrained phi to compare with", partial(write_untrained, at), at.untrained),
        *_one_shot(at, "untrained", at.untrained, size),
        *_one_shot(at, "trained", at.trained, size),
        *_zero_shot(at, "zero-shot-paper", at.trained, "paper"),
        *_zero_shot(at, "zero-shot-untrained", at.untrained, "adapted"),
        *_zero_shot(at, "zero-shot-adapted", at.trained, "adapted"),
        _score(at, "zero-shot-refined"),
        _score(at, "zero-shot-prior", "--threshold", "0.5"),
    ]  # fmt: skip


def _one_shot(at: Folders, state: str, weights: Path, size: Size) -> Iterator[Step]:
    name = f"one-shot-{state}"
    yield Step(
        f"Choose the temperature that suits the {state} phi, on yet other videos",
        ("calibrate", str(weights), *size.calibration),
        weights,
    )
    yield Step(
        f"{COMPETITORS[name]}: carry the first masks through the test videos",
        # matching alone, since that is what training teaches
        ("propagate", str(at.test), "--weights", str(weights), "--evidence", "none",
         "--size", str(2 * size.test.height), "--out", str(at.results(name)), "--overwrite"),
        at.results(name),
    )  # fmt: skip
    yield _score(at, name)


def _zero_shot(at: Folders, name: str, weights: Path, mode: str) -> Iterator[Step]:
    yield Step(
        f"{COMPETITORS[name]}: find the objects of the test videos",
        ("segment", str(at.test), "--weights", str(weights), "--mode", mode, "--refine", "guided", "--raw",
         "--out", str(at.results(name)), "--overwrite"),
        at.results(name),
    )  # fmt: skip
    yield _score(at, name)


def _score(at: Folders, name: str, *more: str) -> Step:
    task = "one-shot" if name.startswith("one-shot") else "zero-shot"
    return Step(
        f"{COMPETITORS[name]}: score",
        ("evaluate", "--task", task, "--gt", str(at.test), "--pred", str(at.scored(name)), *more, "--no-stability",
         "--out", str(at.scores(name)), "--overwrite"),
        at.scores(name),
    )  # fmt: skip


def perform(step: Step) -> None:
    """Runs a step; a command runs in its own process.

    Raises:
        InputError: the command failed; its message is on standard error.
    """
    if callable(step.work):
        step.work()
        return
    status = run_command(step.work)
    if status:
        command = shlex.join(("mug", *step.work))
        raise InputError(f"`{command}` ended with status {status}, see above; the same `mug demo` goes on from there")


def run_command(arguments: tuple[str, ...]) -> int:
    """Runs `mug ARGUMENTS` in its own process and returns the exit status.

    The process is forked from a server that has imported the large packages. On systems without a fork server, the
    command is started as from a shell.
    """
    arguments = (*arguments, *level_words())
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return subprocess.run([sys.executable, "-m", "mug", *arguments], check=False).returncode
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    process = context.Process(target=_command, args=(arguments,))
    process.start()
    try:
        process.join()
    finally:
        if process.is_alive():  # this process alone was stopped
            process.terminate()
            process.join()
    return process.exitcode or 0


def _command(arguments: tuple[str, ...]) -> None:
    sys.exit(main(arguments))


def write_untrained(at: Folders) -> None:
    """Writes weights with the trained model's architecture and an untrained phi.

    Batch norm is fitted to the training videos; otherwise the comparison would be unfair.
    """
    model, _ = load_weights(at.trained)
    frames = [video[len(video) // 2] for video in find_videos(at.train)]
    model.phi = untrained_phi(model.config.backbone, map(to_tensor, frames))
    save_weights(at.untrained, model, {"training": "none"})


def take_up(out: Path, quick: bool) -> dict[str, Any]:
    """The record of an interrupted demo, or a new one.

    Raises:
        InputError: `out` holds something else, or a demo of the other kind (quick or full).
    """
    file = out / RECORD
    if not file.is_file():
        prepare_output(out, overwrite=False)
        record: dict[str, Any] = {"quick": quick, "steps": {}}
        _write_record(out, record)
        return record
    record = read_json(file)
    if not isinstance(record, dict) or not isinstance(record.get("steps"), dict):
        raise InputError(f"{file}: is no record of a demo; choose another folder")
    if record.get("quick") != quick:
        kind = "a full" if quick else "a quick"
        raise InputError(f"{out}: holds {kind} demo; choose another folder")
    remove_partial(out.rglob(".*"))  # of a killed step
    return record


def _write_record(out: Path, record: dict[str, Any]) -> None:
    with atomic_path(out / RECORD) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n")


def _spell(step: Step) -> str:
    return "(a function of the demo)" if callable(step.work) else shlex.join(("mug", *step.work))
