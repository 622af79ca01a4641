"""Progress is a bar on a terminal, lines elsewhere, and never changes what is iterated."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Iterator

import pytest

from mug.errors import logger
from mug.run import under_way
from mug.run.progress import track


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was said before."""
    monkeypatch.setattr(under_way, "_watch", under_way._Watch())


class Terminal(io.StringIO):
    """A standard error that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_short_work_is_silent_without_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    assert list(track(range(3), "counting")) == [0, 1, 2]
    out, err = capfd.readouterr()
    assert out == err == ""


def test_terminal_sees_the_count(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    assert list(track(iter("abc"), "spelling", total=3)) == ["a", "b", "c"]
    assert "spelling" in terminal.getvalue()
    assert "3/3" in terminal.getvalue()
    assert capsys.readouterr().out == ""


class Work:
    """Items that take a time each, on a clock of their own; the first takes 100 s."""

    def __init__(self, count: int, seconds: float) -> None:
        self.count, self.seconds, self.now = count, seconds, 0.0

    def __iter__(self) -> Iterator[int]:
        for number in range(self.count):
            self.now += self.seconds if number else 100
            yield number


@pytest.mark.parametrize(
    ("total", "said"),
    [
        (10, ["counting: 1/10", "counting: 3/10  0:01:45 left", "counting: 5/10  0:01:15 left"]),
        (None, ["counting: 1", "counting: 3", "counting: 5"]),
    ],
)
def test_long_work_says_every_30_s_what_it_does_and_the_time_left(
    total: int | None, said: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    work = Work(7, 15)
    monkeypatch.setattr(time, "monotonic", lambda: work.now)
    assert list(track(work, "counting", total)) == list(range(7))
    out, err = capfd.readouterr()
    assert out == "" and err.splitlines() == said


@pytest.mark.parametrize("terminal", [True, False])
def test_no_progress_where_information_is_off(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    logger.setLevel(logging.ERROR)
    work = Work(7, 15)
    assert list(track(work, "counting", 7)) == list(range(7))
    assert stream.getvalue() == ""


def test_short_work_one_after_another_has_one_clock(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Videos of 20 s each: a line comes although none of them takes 30 s; what comes much later begins anew."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def frames() -> Iterator[int]:
        for number in range(4):
            now[0] += 5
            yield number

    for name in "abc":
        list(track(frames(), f"{name}: segmenting", 4))
    assert [line.partition("  ")[0] for line in capfd.readouterr().err.splitlines()] == [
        "b: segmenting: 1/4",
        "c: segmenting: 3/4",
    ]
    now[0] += 600
    list(track(frames(), "other", 4))
    assert capfd.readouterr().err == ""


def test_nothing_is_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    assert list(track([], "reading tar files")) == []
    assert terminal.getvalue() == ""
