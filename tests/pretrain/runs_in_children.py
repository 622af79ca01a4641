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
from typing import Any, BinaryIO

import lightning.fabric  # noqa: F401 - before the forks, not after each
import torch

from pretrain import bootstrap, prior_cache, train
from tests.pretrain.tiny import tiny


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


def write_half(state: object, file: BinaryIO) -> None:
    """What is left of a checkpoint by a kill in the middle of its writing."""
    file.write(b"PK half a checkpoint")
    file.flush()
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


def as_by_srun(rank: int, port: str) -> dict[str, str]:
    """The variables that `srun --ntasks-per-node=2` gives one of its two processes."""
    job = {"JOB_ID": "7", "JOB_NAME": "train", "NODELIST": "localhost", "NNODES": "1", "NODEID": "0"}
    job |= {"NTASKS": "2", "NTASKS_PER_NODE": "2", "STEP_NUM_TASKS": "2", "PROCID": str(rank), "LOCALID": str(rank)}
    return {f"SLURM_{name}": value for name, value in job.items()} | {"MASTER_PORT": port}


def main(videos: Path, out: Path) -> None:
    """Fills `out` with the runs `whole`, `killed` and `two`."""
    whole = in_child(lambda: train.pretrain(tiny(videos, out / "whole")))
    assert os.waitpid(whole, 0)[1] == 0
    for kill in (kill_in_prior, kill_in_step, kill_in_checkpoint, kill_in_relabelling, None):

        def work(kill: Callable[[], None] | None = kill) -> None:
            if kill:
                kill()
            train.pretrain(tiny(videos, out / "killed"))

        status = os.waitpid(in_child(work), 0)[1]
        print(kill.__name__ if kill else "last", os.WTERMSIG(status) if os.WIFSIGNALED(status) else status, flush=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])

    def exactly(name: str, devices: int) -> Callable[[], None]:
        chosen = tiny(videos, out / name, devices)
        # AdamW divides by the size of a gradient, also where that is nothing but rounding: it has to be little
        chosen.engine.precision = "64-true"
        return lambda: train.pretrain(chosen)

    alone = in_child(exactly("one", 1))
    pair = [in_child(exactly("two", 2), **as_by_srun(rank, port)) for rank in (0, 1)]
    assert [os.waitpid(child, 0)[1] for child in (alone, *pair)] == [0, 0, 0]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
