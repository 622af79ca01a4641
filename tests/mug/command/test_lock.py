"""Two commands never write to one folder; a lock ends with its process."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from mug.cli import main
from mug.command.lock import locked, output_lock
from mug.errors import InputError


@contextmanager
def another(work: Callable[[], object]) -> Iterator[int]:
    """A process in which the work has been done, and that then waits until it is killed."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        work()
        os.write(write, b"ready")
        signal.pause()
    os.read(read, 5)
    try:
        yield child
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def hold(folder: Path, shared: bool = False) -> Callable[[], object]:
    context = locked(folder, shared)
    return lambda context=context: context.__enter__()  # the process ends inside


def test_the_second_is_refused_until_the_first_is_dead(tmp_path: Path) -> None:
    out = tmp_path / "a/out"
    with another(hold(out)), pytest.raises(InputError, match="out: another mug command writes to it"):
        hold(out)()
    with locked(out):
        assert out.is_dir()
        with pytest.raises(InputError, match="another mug command"), locked(out):
            pass
    assert list(out.iterdir()) == []  # the lock itself is nowhere to be seen


def test_shards_share_a_folder_that_others_may_not_use(tmp_path: Path) -> None:
    with another(hold(tmp_path, shared=True)):
        with locked(tmp_path, shared=True):
            pass
        with pytest.raises(InputError), locked(tmp_path):
            pass
    with another(hold(tmp_path)), pytest.raises(InputError), locked(tmp_path, shared=True):
        pass


def test_a_worker_does_not_keep_the_lock_of_its_dead_parent(tmp_path: Path) -> None:
    read, write = os.pipe()

    lock = hold(tmp_path)

    def work() -> None:
        lock()
        if not os.fork():
            os.write(write, str(os.getpid()).encode())
            signal.pause()

    with another(work):
        worker = int(os.read(read, 20))
    try:
        with locked(tmp_path):
            pass
    finally:
        os.kill(worker, signal.SIGKILL)


def test_what_is_in_the_folder_stays(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "out"):
        (tmp_path / "out/file").write_text(f"{1 / 0}")
    assert not (tmp_path / "out").exists()
    with locked(tmp_path / "out"):
        (tmp_path / "out/file").touch()
    assert (tmp_path / "out/file").exists()


def test_a_place_that_cannot_be_made_is_left_to_the_command(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with locked(tmp_path / "file"), locked(tmp_path / "file/out"):
        pass


@dataclass
class Options:
    """Of a command with an output folder."""

    out: Path


@dataclass
class DividedOptions(Options):
    """Of a command that may do a part of the work."""

    shard: str | None = None


@pytest.mark.parametrize(
    ("options", "environment", "meets"),
    [
        (Options, {}, False),
        (Options, {"LOCAL_RANK": "0"}, False),
        (Options, {"LOCAL_RANK": "1"}, True),
        (Options, {"RANK": "2", "WORLD_SIZE": "4"}, True),
        (Options, {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "4"}, False),
        (DividedOptions, {}, False),
        (DividedOptions, {"RANK": "0", "WORLD_SIZE": "4"}, True),
        (DividedOptions, {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "4"}, True),
        (lambda out: DividedOptions(out, "1/2"), {}, True),
    ],
)
def test_who_shares(
    options: Callable[[Path], Options],
    environment: dict[str, str],
    meets: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with output_lock(options(tmp_path), "out"):
        if meets:
            with output_lock(options(tmp_path), "out"):
                pass
        else:
            with pytest.raises(InputError), output_lock(options(tmp_path), "out"):
                pass


def test_the_command_refuses_and_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with locked(tmp_path / "out"):
        assert main(["synth", str(tmp_path / "out"), "--videos", "1", "--frames", "1"]) == 2
        assert list((tmp_path / "out").iterdir()) == []
    said = capsys.readouterr().err
    assert said == (
        f"mug: error: {tmp_path / 'out'}: another mug command writes to it; wait for that one or choose another "
        "folder\n"
    )


def test_threads_are_told_apart_too(tmp_path: Path) -> None:
    refused = []

    def work() -> None:
        with pytest.raises(InputError), locked(tmp_path):
            pass
        refused.append(True)

    with locked(tmp_path):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert refused == [True]
