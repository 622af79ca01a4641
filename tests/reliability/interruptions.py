"""Interrupts long commands at random moments, and looks at what they leave behind.

python -m tests.reliability.interruptions 100 [COMMAND ...]

Each time, a command is started as a process of its own, and gets SIGINT, SIGTERM or SIGKILL after a random share of the
computing that it takes undisturbed. Then every visible file has to be whole, no process may be left, and the next call
has to end with the results of an undisturbed one.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # other threads would not survive the forks

import hashlib
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import lightning.fabric  # noqa: F401 - imported before the forks, not after each
import numpy as np
from PIL import Image

import downstream.cosegment
import downstream.evaluate
import downstream.finetune
import downstream.propagate
import downstream.segment  # noqa: F401
import pretrain.train  # noqa: F401
from mug.cli import main
from mug.command import options  # noqa: F401
from mug.media.plain import read_json, read_yaml
from mug.media.video import open_video
from mug.networks.tensors import read_safetensors, read_tensors
from mug.run.checkpoints import Checkpoints
from tests.reliability.world import build, snapshot, words_of

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -signal.SIGKILL}
MORE: dict[str, Sequence[str]] = {
    "synth": ("--videos", "2", "--frames", "6"),
    "synth-groups": ("--groups", "3"),
    "prior": ("--workers", "2"),
    "pretrain": (),
    "finetune": ("--steps", "6"),
    "propagate": ("--overlay",),
    "segment": ("--overlay", "--raw"),
    "cosegment": (),
    "evaluate": ("--workers", "2"),
}
"""Long commands, with words that make them longer."""
NEXT = {
    "synth": "--overwrite", "synth-groups": "--overwrite", "propagate": "--resume", "segment": "--resume",
    "cosegment": "--resume",
}  # fmt: skip
"""What the next call says beside the words of the first."""
UNLIKE = ("timing.csv", "events.out", "index-")
"""Files that differ between equal calls: times, and the state of folders."""
HANGS_S = 1200
"""Seconds after which a call is taken to hang."""
GONE_S = 30
"""Seconds after which the workers of a killed command have to be gone."""


class Ended(NamedTuple):
    """A call that has ended."""

    status: int
    said: str
    seconds: float
    """What it computed."""


def call(words: Sequence[str], number: signal.Signals | None = None, after: float = 0.0) -> Ended:
    """Runs `mug` in a process of its own, which gets a signal after some seconds of computing."""
    with tempfile.TemporaryFile() as said:
        child = os.fork()
        if not child:
            os.setsid()
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
            sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115 - until the process ends
            signal.signal(signal.SIGINT, signal.default_int_handler)
            status = 99
            try:
                status = main(words)
            finally:
                sys.stderr.flush()
                os._exit(status)
        seconds, ended, until = 0.0, 0, time.monotonic() + HANGS_S
        while not ended:
            assert time.monotonic() < until, f"{words} hangs"
            seconds = max(seconds, _computed(child))
            if number is not None and seconds >= after:
                # Ctrl-C reaches all processes of a terminal, the other signals one
                os.killpg(child, number) if number == signal.SIGINT else os.kill(child, number)
                number = None
            time.sleep(0.002)
            ended, status = os.waitpid(child, os.WNOHANG)
        _wait_for_workers(child)
        said.seek(0)
        return Ended(os.waitstatus_to_exitcode(status), said.read().decode(errors="replace"), seconds)


class Whole(NamedTuple):
    """An undisturbed call."""

    seconds: float
    """What it computed."""
    found: dict[str, str]
    """See `visible`."""


@cache
def undisturbed(command: str, world: Path, root: Path) -> Whole:
    """What a command computes, and what it leaves."""
    fresh(world, root)
    whole = call([*words_of(command, root), *MORE[command]])
    assert whole.status == 0, whole.said
    return Whole(whole.seconds, visible(root))


def interrupt(command: str, number: signal.Signals, share: float, world: Path, root: Path) -> bool:
    """Interrupts a command once; says whether it was still running.

    Args:
        command: A key of `MORE`.
        number: The signal.
        share: When, as a share of its computing.
        world: See `tests.reliability.world.build`.
        root: Where the command works; afterwards, the results are there.
    """
    words = [*words_of(command, root), *MORE[command]]
    whole = undisturbed(command, world, root)
    fresh(world, root)
    stopped = call(words, number, share * whole.seconds)
    assert stopped.status in (0, STATUS[number]), stopped
    assert "Traceback" not in stopped.said, stopped.said
    check_whole(root)
    if number != signal.SIGKILL:
        assert not list(root.rglob("*.partial")), stopped.said
    if stopped.status:
        again = call([*words, NEXT[command]] if command in NEXT else words)
        assert again.status == 0, (stopped, again)
    found = visible(root)
    assert found == whole.found, sorted({*found.items()} ^ {*whole.found.items()})
    # beside a single file, other commands may be writing
    assert command == "evaluate" or not list(root.rglob("*.partial"))
    print(f"{command} {number.name} at {share:.0%} of {whole.seconds:.1f} s: {stopped.status}", flush=True)
    return stopped.status != 0


def fresh(world: Path, root: Path) -> None:
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(world, root)


def visible(root: Path) -> dict[str, str]:
    """Everything that is not hidden and is the same each time."""
    found = {}
    for name, content in snapshot(root).items():
        path = Path(name)
        if any(part.startswith(".") for part in path.parts) or path.name.startswith(UNLIKE) or path.suffix == ".pt":
            continue
        if path.suffix == ".mp4":  # the encoder's threads may differ in a few bytes
            content = repr(open_video(root / path))
        if path.suffix == ".safetensors":  # the order of its metadata is random
            tensors, note = read_safetensors(root / path)
            content = str([sorted(note.items()), *((key, x.tolist()) for key, x in sorted(tensors.items()))])
            content = hashlib.sha256(content.encode()).hexdigest()
        found[name] = content
    return found


def check_whole(root: Path) -> None:
    """Reads every visible file."""
    for path in root.rglob("*"):
        if path.is_dir() or any(part.startswith(".") for part in path.relative_to(root).parts):
            continue
        if path.suffix in (".png", ".jpg"):
            np.asarray(Image.open(path))
        elif path.suffix in (".json", ".yaml"):
            (read_json if path.suffix == ".json" else read_yaml)(path)
        elif path.suffix in (".safetensors", ".pth"):
            read_tensors(path)
        elif path.suffix == ".mp4":
            assert len(open_video(path))
        elif path.suffix == ".pt":
            Checkpoints(path.parent).load()
        elif path.suffix == ".csv":
            assert path.read_text()


def _computed(child: int) -> float:
    """Seconds that a process has computed so far."""
    try:
        fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def _wait_for_workers(group: int) -> None:
    until = time.monotonic() + GONE_S
    while time.monotonic() < until:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    os.killpg(group, signal.SIGKILL)
    raise AssertionError("processes are left")


def interrupt_all(times: int, commands: Sequence[str]) -> None:
    """Interrupts the commands in turn until that often one was running; prints each time, and how often each was."""
    rng = random.Random(0)
    cases = [(command, SIGNALS[(i + j) % 3]) for j in range(3) for i, command in enumerate(commands)]
    counts: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        world, root = build(Path(folder) / "world"), Path(folder) / "root"
        done = tried = 0
        while done < times:
            command, number = cases[tried % len(cases)]
            running = interrupt(command, number, rng.uniform(0.05, 0.95), world, root)
            tried += 1
            done += running
            counts[command, number.name] += running
    for command in commands:
        print(f"| `{command}` |", " | ".join(str(counts[command, number.name]) for number in SIGNALS), "|")


if __name__ == "__main__":
    interrupt_all(int(sys.argv[1]), sys.argv[2:] or list(MORE))
