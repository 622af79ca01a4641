"""Signals that wait for the end of a step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from mug.run.stop import StopSignals


@pytest.fixture(autouse=True)
def handlers_as_they_were() -> Iterator[None]:
    first = signal.signal(signal.SIGINT, signal.default_int_handler)  # the tests may run in the background
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    assert {number: signal.getsignal(number) for number in before} == before
    signal.signal(signal.SIGINT, first)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_remembered_and_said(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    with StopSignals() as signals:
        assert signals.asked is None
        signal.raise_signal(number)
        assert signals.asked == number
        signals.asked = None
    name = signal.Signals(number).name
    assert capsys.readouterr().err == f"{name}: ends after this step; Ctrl-C again ends at once\n"


def test_ctrl_c_again_ends_at_once_but_for_an_echo() -> None:
    clock = iter([10.0, 10.9, 11.1])
    signals = StopSignals(now=lambda: next(clock))

    def press() -> None:
        with signals:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGTERM)
            assert signals.asked == signal.SIGINT
            signal.raise_signal(signal.SIGINT)
            pytest.fail("is still here")

    with pytest.raises(KeyboardInterrupt):
        press()
    assert next(clock, None) is None


def test_what_nobody_answers_is_raised_in_the_end() -> None:
    signals = StopSignals()
    with pytest.raises(KeyboardInterrupt), signals:
        signal.raise_signal(signal.SIGINT)
    with signals:
        assert signals.asked is None


def test_an_error_goes_before_a_signal() -> None:
    def fail() -> None:
        signal.raise_signal(signal.SIGTERM)
        raise ValueError("loss")

    with pytest.raises(ValueError, match="loss"), StopSignals():
        fail()


def test_another_thread_leaves_the_signals_alone() -> None:
    seen = []

    def work() -> None:
        with StopSignals():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGINT)]


def test_what_a_background_job_ignores_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with StopSignals() as signals:
        signal.raise_signal(signal.SIGINT)
        assert signals.asked is None
    assert signal.signal(signal.SIGINT, signal.default_int_handler) is signal.SIG_IGN
