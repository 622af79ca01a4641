"""Pretrains in child processes, whole, killed again and again, and two together; a script that a test starts.

Children are forked, so that the packages are imported once; every one is a real process and every kill a real SIGKILL.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.fabric  # noqa: F401 - before the forks, not after each
import numpy as np
import torch
from PIL import Image

from mug.options import BackboneConfig, LossWeights, ModelConfig
from mug.run.options import Engine, OptimiserOptions
from pretrain import bootstrap, prior_cache, train
from pretrain.options import LabelOptions, PretrainOptions, WarmupOptions
from pretrain.sampling import SampleOptions


def options(videos: Path, out: Path, devices: int = 1) -> PretrainOptions:
    """A run of a few seconds in which everything happens: two rounds, warm-up, checkpoints, pictures."""
    return PretrainOptions(
        videos=videos,
        out=out,
        model=ModelConfig(BackboneConfig(depth=18, stages=2, stride=8)),
        sample=SampleOptions(size=64, abstract=2, references=1),
        bootstrap=LabelOptions(stride=6),
        optimiser=OptimiserOptions(kind="adamw", lr=1e-3),
        weights=LossWeights(warp=0.5),
        warmup=WarmupOptions(steps=1),
        rounds=[3, 2],
        batch=4,
        engine=Engine(accelerator="cpu", devices=devices, threads=1, precision="32-true"),
        num_workers=0,
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


def in_child(work: Callable[[], Any], **environment: str) -> int:
    """Starts a child that does the work; gives its process id."""
    child = os.fork()
    if child:
        return child
    try:
        os.environ.update(environment)
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def die(*_: Any, **__: Any) -> None:
    """The end, without a last word."""
    os.kill(os.getpid(), signal.SIGKILL)


def nth(count: int, function: Callable[..., Any], last: Callable[..., Any] = die) -> Callable[..., Any]:
    """The function, which becomes `last` at its nth call."""
    calls = 0

    def counted(*arguments: Any, **keywords: Any) -> Any:
        nonlocal calls
        calls += 1
        return (last if calls == count else function)(*arguments, **keywords)

    return counted


def write_half(state: object, path: Path) -> None:
    """What is left of a checkpoint by a kill in the middle of its writing."""
    Path(path).write_bytes(b"PK half a checkpoint")
    die()


def kill_in_prior() -> None:
    """Dies after some initial maps."""
    prior_cache.write_soft = nth(3, prior_cache.write_soft)  # type: ignore[attr-defined]


def kill_in_step() -> None:
    """Dies after the second step is in the log, before its checkpoint."""
    train.Run.save = die  # type: ignore[assignment,method-assign]


def kill_in_checkpoint() -> None:
    """Dies in the middle of the second checkpoint."""
    torch.save = nth(2, torch.save, write_half)


def kill_in_relabelling() -> None:
    """Dies after some renewed maps."""
    bootstrap.refine = nth(3, bootstrap.refine)  # type: ignore[attr-defined]


def main(videos: Path, out: Path) -> None:
    """Fills `out` with the runs `whole`, `killed` and `two`."""
    whole = in_child(lambda: train.pretrain(options(videos, out / "whole")))
    assert os.waitpid(whole, 0)[1] == 0
    for kill in (kill_in_prior, kill_in_step, kill_in_checkpoint, kill_in_relabelling, None):

        def work(kill: Callable[[], None] | None = kill) -> None:
            if kill:
                kill()
            train.pretrain(options(videos, out / "killed"))

        status = os.waitpid(in_child(work), 0)[1]
        print(kill.__name__ if kill else "last", os.WTERMSIG(status) if os.WIFSIGNALED(status) else status, flush=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}

    def exactly(name: str, devices: int) -> Callable[[], None]:
        chosen = options(videos, out / name, devices)
        # AdamW divides by the size of a gradient, also where that is nothing but rounding: it has to be little
        chosen.engine.precision = "64-true"
        return lambda: train.pretrain(chosen)

    alone = in_child(exactly("one", 1))
    pair = [in_child(exactly("two", 2), LOCAL_RANK=str(rank), **address) for rank in (0, 1)]
    assert [os.waitpid(child, 0)[1] for child in (alone, *pair)] == [0, 0, 0]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
