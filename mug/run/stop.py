"""Signals that end a training between two steps, so that nothing is lost, and other work with its cleaning up."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from mug.errors import logger

SIGNALS = (signal.SIGINT, signal.SIGTERM)
ECHO_S = 1.0
"""Seconds within which a second SIGINT is taken for an echo of the first: a launcher passes on what the terminal has
already sent to all its processes."""

WORKER_S = 60
"""Seconds that a worker lives on after SIGTERM."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, as Python raises Ctrl-C."""


@contextlib.contextmanager
def sigterm_raised() -> Iterator[None]:
    """Context in which SIGTERM raises `Terminated`, so that files that are being written are removed.

    Repetitions are ignored. Where somebody else handles the signal, and outside of the main thread, nothing changes.
    """
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _raise)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _raise(number: int, _: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise Terminated


class StopSignals:
    """Context in which Ctrl-C (SIGINT) and SIGTERM do not end the process, but are remembered.

    The loop reads `asked` after each step. A second Ctrl-C ends the process at once; further SIGTERMs change nothing,
    as schedulers repeat them and follow with a kill. A signal that is still unanswered at the end of the context is
    raised again there. Outside of the main thread the context does nothing, since Python allows no handlers there.

    Args:
        now: Clock in seconds.
        after: What is finished first, for the message.

    Attributes:
        asked: Number of the first signal; None as long as there is none.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic, after: str = "this step") -> None:
        self.asked: int | None = None
        self._now, self._after = now, after
        self._since = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            # a background job of a script is told to ignore Ctrl-C, and goes on doing so
            heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._take) for number in heard}
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
        unanswered, self.asked = self.asked, None
        if unanswered is not None and kind is None:
            signal.raise_signal(unanswered)

    def _take(self, number: int, _: FrameType | None) -> None:
        if self.asked is None:
            self.asked, self._since = number, self._now()
            with contextlib.suppress(RuntimeError):  # the signal may come while another line is being printed
                logger.info("%s: ends after %s; Ctrl-C again ends at once", signal.Signals(number).name, self._after)
        elif number == signal.SIGINT and self._now() - self._since > ECHO_S:
            raise KeyboardInterrupt


def follow_parent() -> None:
    """Leaves Ctrl-C to the parent of this worker process, and ends with it, even if SIGKILL ended it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def outlast_stop_signals() -> None:
    """Lets a worker process outlast the signals to all processes of a run, which still needs its data for a step.

    Ctrl-C is left to the parent. SIGTERM, with which a parent may end its worker, too, ends it after `WORKER_S`.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end_later)


def _end_later(number: int, _: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)
    signal.alarm(WORKER_S)
