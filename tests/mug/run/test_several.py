"""One of several videos that cannot be done does not cost the others."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pytest

from mug.errors import InputError, RunError
from mug.run.several import Several


def attempt_all(names: Collection[str], bad: Collection[str]) -> list[str]:
    several, done = Several(len(names)), []
    for name in names:
        with several.attempt(name):
            if name in bad:
                raise InputError(f"{name}.mp4: cannot be read")
            done.append(name)
    several.finish(Path("out"))
    return done


def test_it_says_where_the_results_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert attempt_all("abc", "") == ["a", "b", "c"]
    assert capsys.readouterr().err == "out: 3 videos done\n"


def test_one_that_fails_is_named_and_the_others_are_done(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="1 of 3 videos could not be done: b; the others are done"):
        attempt_all("abc", "b")
    assert capsys.readouterr().err == "mug: warning: b: left out: b.mp4: cannot be read\n"


def test_all_that_fail_leave_no_others(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match=r"7 of 7 videos could not be done: a, b, c, d, e, \.\.\.$"):
        attempt_all("abcdefg", "abcdefg")


def test_a_single_one_is_refused_as_ever(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match=r"^a\.mp4: cannot be read$"):
        attempt_all("a", "a")
    assert capsys.readouterr().err == ""


def test_what_is_no_fault_of_the_video_ends_the_work() -> None:
    several = Several(2)
    with pytest.raises(RunError), several.attempt("a"):
        raise RunError("out of memory")
