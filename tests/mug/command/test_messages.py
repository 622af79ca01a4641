"""One channel: the logger `mug`, on standard error where the command line runs, the application's elsewhere."""

from __future__ import annotations

import contextlib
import logging
import subprocess
import sys
from dataclasses import dataclass

import pytest

from mug import cli
from mug.cli import main
from mug.command.messages import level_words, show_messages, split_level
from mug.errors import InputError, logger, warn


def test_the_command_line_shows_all_of_it_once(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        show_messages()
    logger.info("80 videos")
    warn("clip.mp4: is\n  cut off")
    logger.error("no such file")
    assert capsys.readouterr().err == "80 videos\nmug: warning: clip.mp4: is cut off\nmug: error: no such file\n"


def say_all() -> None:
    logger.debug("step 3")
    logger.info("80 videos")
    logger.warning("clip.mp4: is cut off")
    logger.error("no such file")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "80 videos|mug: warning: clip.mp4: is cut off|mug: error: no such file|"),
        (["--quiet"], "mug: error: no such file|"),
        (["--verbose"], "mug: debug: step 3|80 videos|mug: warning: clip.mp4: is cut off|mug: error: no such file|"),
    ],
)
def test_the_level_is_an_option(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([*words, "segment", "--out", "x"], ["segment", "--out", *words, "x"]):
        level, rest = split_level(arguments)
        assert rest == ["segment", "--out", "x"]
        show_messages(level)
        assert list(level_words()) == words
        say_all()
        assert capsys.readouterr().err.replace("\n", "|") == said


def test_two_levels_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="--quiet and --verbose: give one of them"):
        split_level(["--verbose", "segment", "--quiet"])
    assert main(["--verbose", "doctor", "--quiet"]) == 2
    assert capsys.readouterr().err == "mug: error: --quiet and --verbose: give one of them\n"


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


@dataclass
class Options:
    """Options of a made-up command."""

    size: int = 4
    """Pixels."""


@pytest.fixture
def raised(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """What a command `work` raises."""
    errors: list[BaseException] = []

    def work(options: Options) -> None:
        for error in errors:
            raise error

    monkeypatch.setattr(cli, "COMMANDS", (cli.Command("work", "work", "options", "works"),))
    monkeypatch.setattr(cli, "resolve", {"work": work, "options": Options}.__getitem__)
    return errors


def test_quiet_and_verbose_go_with_every_command(
    raised: list[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["work", "--verbose", "--size", "8"]) == 0
    said = capsys.readouterr().err
    assert "mug: debug: mug" in said and "size=8" in said and "work took" in said
    for words in (["--quiet", "work", "--size", "8"], ["work", "--size", "8", "--quiet"]):
        assert main(words) == 0
    raised.append(KeyboardInterrupt())
    assert main(["work", "--quiet"]) == 130
    assert capsys.readouterr().err == ""
    raised[0] = InputError("v: no such video")
    assert main(["work", "--quiet"]) == 2
    assert capsys.readouterr().err == "mug: error: v: no such video\n"
    assert main(["work", "--verbose"]) == 2
    said = capsys.readouterr().err
    assert "Traceback" in said and said.endswith("mug: error: v: no such video\n")


def test_every_help_names_them(raised: list[BaseException], capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--help"], ["work", "--help"]):
        with contextlib.suppress(SystemExit):
            main(words)
        text = capsys.readouterr().out
        assert "--quiet" in text and "--verbose" in text
