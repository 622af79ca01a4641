"""Progress is for terminals only and never changes what is iterated."""

from __future__ import annotations

import io

import pytest

from mug.run.progress import track


class Terminal(io.StringIO):
    """A standard error that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_quiet_without_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
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
