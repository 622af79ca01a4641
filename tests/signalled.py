"""Runs `mug` as a real process that gets real signals in a given step of a training.

python -m tests.signalled MODULE STEP SIGNAL[,SIGNAL] WORDS...; the step is that of `MODULE.train_step`. Signals go to
the process group, as a terminal sends them, more than a second apart.
"""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from mug.cli import main
from mug.run.stop import ECHO_S


def run(module: str, step: int, signals: str, *words: object, **environment: str) -> subprocess.Popen[str]:
    """Starts such a process, in a group of its own."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.signalled", module, str(step), signals]
    command += [str(word) for word in words]
    place = str(Path(__file__).parents[1])
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": place}
    return subprocess.Popen(
        command, env=os.environ | environment, stderr=subprocess.PIPE, text=True, start_new_session=True, cwd=place
    )


def _send_in_step(module: str, step: int, signals: list[str]) -> None:
    trainer: Any = importlib.import_module(module)
    train_step = trainer.train_step

    def signalled(run: Any, number: int, *rest: Any) -> Any:
        for name in signals if number == step else ():
            os.killpg(0, signal.Signals[name])
            time.sleep(1.2 * ECHO_S if len(signals) > 1 else 0)
        return train_step(run, number, *rest)

    trainer.train_step = signalled


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the tests may run in the background, where it is ignored
    _send_in_step(sys.argv[1], int(sys.argv[2]), sys.argv[3].split(","))
    sys.exit(main(sys.argv[4:]))
