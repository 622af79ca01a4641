"""Runs `mug` as a real process that gets real signals in a given step of a training.

Signals go to the process group, as a terminal sends them, more than a second apart. The processes are forked from a
server that has imported the packages once.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

from mug.cli import main
from mug.run.stop import ECHO_S

PRELOADED = ("tests.signalled", "lightning.fabric", "downstream.finetune", "pretrain.train", "mug.command.options")


class Child:
    """A started process.

    Attributes:
        returncode: Its exit status, after `communicate`.
    """

    def __init__(self, *arguments: Any) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(PRELOADED))
        self.returncode: int | None = None
        with tempfile.NamedTemporaryFile(delete=False) as file:
            self._said = Path(file.name)
        self._process = context.Process(target=_work, args=(str(self._said), *arguments))
        self._process.start()

    def communicate(self, timeout: float) -> str:
        """Waits for the end; gives what was said on standard error."""
        self._process.join(timeout)
        self.returncode = self._process.exitcode
        if self.returncode is None:
            self._process.kill()
        said = self._said.read_text()
        self._said.unlink()
        return said


def run(module: str, step: int, signals: str, *words: object, **environment: str) -> Child:
    """Starts `mug WORDS...` in a group of its own.

    Args:
        module: The module with the training's `train_step`.
        step: The step of the signals.
        signals: Their names, with commas between.
        words: The command.
        environment: More variables of its environment.
    """
    return Child(module, step, signals.split(","), [str(word) for word in words], environment)


def _work(said: str, module: str, step: int, signals: list[str], words: list[str], environment: dict[str, str]) -> None:
    os.setsid()
    os.dup2(os.open(said, os.O_WRONLY), 2)
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115 - until the process ends
    warnings.simplefilter("ignore")
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the tests may run in the background, where it is ignored
    _send_in_step(module, step, signals)
    sys.exit(main(words))


def _send_in_step(module: str, step: int, signals: list[str]) -> None:
    trainer: Any = importlib.import_module(module)
    train_step = trainer.train_step

    def signalled(run: Any, number: int, *rest: Any) -> Any:
        for name in signals if number == step else ():
            os.killpg(0, signal.Signals[name])
            time.sleep(1.2 * ECHO_S if len(signals) > 1 else 0)
        return train_step(run, number, *rest)

    trainer.train_step = signalled
