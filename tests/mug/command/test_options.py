"""Options are read before any large library, and those that nothing reads are refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from mug.cli import COMMANDS
from mug.command.options import parse, spelt
from mug.errors import InputError
from mug.media.address import Address

HEAVY = ("torch", "torchvision", "lightning", "sklearn", "faiss", "av", "timm")


@pytest.mark.parametrize("words", [["--help"], ["--no_such_option", "3"]], ids=["help", "refusal"])
def test_no_command_loads_a_large_library_before_its_options_are_read(words: list[str]) -> None:
    code = f"""
import contextlib, io, sys
from mug.cli import COMMANDS, main
for command in COMMANDS:
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        try:
            status = main([command.name, *{words!r}])
        except SystemExit as end:
            status = end.code
    assert status == (0 if {words!r} == ["--help"] else 2), (command.name, status)
    assert out.getvalue() or "no_such_option" in errors.getvalue(), command.name
    loaded = [name for name in {HEAVY!r} if name in sys.modules]
    assert not loaded, (command.name, loaded)
print("done")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "done\n", done.stderr


def test_each_system_is_looked_at_too() -> None:
    code = f"""
import contextlib, io, sys
from mug.cli import main
for words in (["finetune", "agnn"], ["segment", "--system", "agnn"], ["propagate", "--system=mug"]):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        main([*words, "--help"])
assert not [name for name in {HEAVY!r} if name in sys.modules]
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_options_are_those_of_the_function() -> None:
    assert all(":" in command.options for command in COMMANDS if command.name != "doctor")


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ([], None),
        (["--system", "a", "--out", "x"], "a"),
        (["--system=a", "--system", "b"], "b"),
        (["--out", "x", "--config", "FILE"], "from_file"),
        (["--config=FILE", "--system", "a"], "a"),
    ],
)
def test_an_option_is_found_before_the_others_are_known(
    tmp_path: Path, arguments: list[str], found: str | None
) -> None:
    file = tmp_path / "how.yaml"
    file.write_text("system: from_file\n")
    assert spelt("system", [word.replace("FILE", str(file)) for word in arguments]) == found


def test_a_place_counts_words_before_the_first_option() -> None:
    assert spelt("system", ["agnn", "--data", "d"], place=0) == "agnn"
    assert spelt("system", ["--data", "d"], place=0) is None


@dataclass
class Choices:
    """How to run."""

    mode: str = "plain"
    """Which way."""
    strength: int = 3
    """How much, in mode strong."""

    def unused(self) -> Mapping[str, str]:
        """Strength, unless it is asked for."""
        return {} if self.mode == "strong" else {"strength": "is of --mode strong"}


def test_what_others_leave_without_effect_is_refused_where_it_was_meant(tmp_path: Path) -> None:
    assert parse("mug try", Choices, (), ["--mode", "strong", "--strength", "5"]).strength == 5
    with pytest.raises(InputError, match="--strength: has no effect here: is of --mode strong"):
        parse("mug try", Choices, (), ["--strength", "3"])
    file = tmp_path / "how.yaml"
    file.write_text("mode: plain\nstrength: 3\n")  # as a run writes it down, with all its defaults
    assert parse("mug try", Choices, (), ["--config", str(file)]).mode == "plain"
    file.write_text("strength: 4\n")
    with pytest.raises(InputError, match="--strength: has no effect"):
        parse("mug try", Choices, (), ["--config", str(file)])


def test_a_typed_option_may_switch_off_a_part_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "how.yaml"
    file.write_text("mode: strong\nstrength: 4\n")
    options = parse("mug try", Choices, (), ["--config", str(file), "--mode", "plain"])
    assert (options.mode, options.strength) == ("plain", 4)
    with pytest.raises(InputError, match="--strength: has no effect"):
        parse("mug try", Choices, (), ["--config", str(file), "--mode", "plain", "--strength", "4"])


@dataclass
class Marks:
    """What is marked where."""

    place: Address | Path
    """A stream or a file."""
    box: list[str] | None = None
    """Boxes."""


@pytest.mark.parametrize(
    ("words", "box"),
    [
        ([], None),
        (["--box", "1,2"], ["1,2"]),
        (["--box", "-1,2", "--box=[3]", "--box", "4"], ["-1,2", "[3]", "4"]),
        (["--box", '["1,2","3"]'], ["1,2", "3"]),
    ],
)
def test_an_option_that_takes_a_list_is_repeated(words: list[str], box: list[str] | None) -> None:
    made = parse("mug try", Marks, ("place",), ["clip.mp4", *words])
    assert (made.place, made.box) == (Path("clip.mp4"), box)
    with pytest.raises(InputError, match="--box"):
        parse("mug try", Marks, ("place",), ["clip.mp4", *words, "--box"])


@pytest.mark.parametrize("place", ["7", "rtsp://me:secret@host//a/b?c=d/"])
def test_an_address_is_kept_as_it_is(place: str) -> None:
    made = parse("mug try", Marks, ("place",), [place])
    assert made.place == Address(place) and made.place.url == place
    assert "secret" not in repr(made)
