"""Nothing that takes long is silent, and nothing is left running."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
import time
from collections.abc import Iterator

import pytest

from mug.errors import logger
from mug.run import under_way
from mug.run.progress import track
from mug.run.under_way import UnderWay


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_way, "LINE_EVERY_S", 0.1)
    monkeypatch.setattr(under_way, "_watch", under_way._Watch())


def slow(count: int, seconds: float) -> Iterator[int]:
    for number in range(count):
        time.sleep(seconds)
        yield number


def watching() -> bool:
    return any(thread.name.startswith("under way") for thread in threading.enumerate())


def lines(capfd: pytest.CaptureFixture[str]) -> list[str]:
    return capfd.readouterr().err.splitlines()


def test_a_single_item_that_takes_long_is_told_of(capfd: pytest.CaptureFixture[str]) -> None:
    assert list(track(slow(2, 0.35), "clip: segmenting", total=2)) == [0, 1]
    said = lines(capfd)
    assert {line.partition("  ")[0] for line in said} == {"clip: segmenting: 0/2", "clip: segmenting: 1/2"}
    assert 4 <= len(said) <= 6


def test_the_inner_of_two_speaks(capfd: pytest.CaptureFixture[str]) -> None:
    for _ in track(range(1), "videos"):
        list(track(slow(1, 0.25), "frames"))
    said = lines(capfd)
    assert said and all(line.startswith("frames: 0") for line in said)


def test_nothing_is_said_of_short_or_finished_work_and_the_thread_ends(capfd: pytest.CaptureFixture[str]) -> None:
    assert list(track(slow(3, 0.01), "counting", total=3)) == [0, 1, 2]
    time.sleep(0.3)
    assert lines(capfd) == [] and not watching()


def test_work_that_is_given_up_is_forgotten(capfd: pytest.CaptureFixture[str]) -> None:
    for _ in track(range(3), "counting"):
        break
    time.sleep(0.3)
    assert lines(capfd) == [] and not watching()


def test_quiet_is_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    logger.setLevel(logging.ERROR)
    assert list(track(slow(1, 0.3), "counting")) == [0]
    assert lines(capfd) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_has_its_own_watch(capfd: pytest.CaptureFixture[str]) -> None:
    work = UnderWay("parent")
    process = multiprocessing.get_context("fork").Process(target=list, args=(track(slow(1, 0.25), "child"),))
    process.start()
    process.join(20)
    work.close()
    assert process.exitcode == 0
    said = lines(capfd)
    assert any(line.startswith("child: 0") for line in said) and any(line.startswith("parent") for line in said)
