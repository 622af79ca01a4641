"""One channel: the logger `mug`, on standard error where the command line runs, the application's elsewhere."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from mug.command.messages import show_messages
from mug.errors import logger, warn


def test_the_command_line_shows_all_of_it_once(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        show_messages()
    logger.info("80 videos")
    warn("clip.mp4: is\n  cut off")
    logger.error("no such file")
    assert capsys.readouterr().err == "80 videos\nmug: warning: clip.mp4: is cut off\nmug: error: no such file\n"


def test_an_application_decides_for_itself() -> None:
    code = """
import logging
from mug.errors import logger, warn
logging.basicConfig(format="app %(name)s %(levelname)s %(message)s")
warn("clip.mp4: is cut off")
logger.info("not asked for")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "app mug WARNING clip.mp4: is cut off\n"
    assert logging.getLogger("mug") is logger
