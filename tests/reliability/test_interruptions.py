"""A few interruptions of long commands; `tests.reliability.interruptions` makes as many as asked for."""

from __future__ import annotations

import subprocess
import sys

from tests.docs.documents import ROOT


def test_interrupted_commands_leave_whole_files_and_go_on() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.reliability.interruptions", "3", "segment", "cosegment", "synth"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
