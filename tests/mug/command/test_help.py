"""The help of a command: five common options, then the others by group, each once."""

from __future__ import annotations

import re
from dataclasses import is_dataclass
from typing import get_args

import pytest

from downstream.systems.base import SYSTEMS
from mug.cli import COMMANDS, Command, main
from mug.command.names import full
from mug.command.options import leaves
from tests.mug.command.test_names import options_of

WITH_OPTIONS = [command for command in COMMANDS if command.options]


def groups(words: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, list[str]]:
    """The names in each group of a help, in order."""
    with pytest.raises(SystemExit):
        main([*words, "--help"])
    found: dict[str, list[str]] = {}
    for line in capsys.readouterr().out.splitlines():
        if re.match(r"\S.*:$", line):
            found[line[:-1]] = []
        elif named := re.match(r"  (?:-h, )?--([\w.]+)", line):
            found[list(found)[-1]].append(named[1])
    return found


@pytest.mark.parametrize("command", WITH_OPTIONS, ids=lambda command: command.name)
def test_five_common_options_come_first(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    shown = groups([command.name], capsys)
    first = next(title for title in shown if title != "arguments")
    assert first == "common options"
    assert len(shown[first]) == min(5, sum(len(names) for names in shown.values()) - 2)
    assert list(shown)[-1] == "every command"
    assert shown["every command"] == ["config", "help"]


@pytest.mark.parametrize("command", WITH_OPTIONS, ids=lambda command: command.name)
def test_every_option_is_shown_once(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    options = options_of(command)[0]  # of the first system that has the command
    known = dict(leaves(options))
    within = {name for name, kind in known.items() if is_dataclass(kind)}
    optional = {name for name, kind in known.items() if name not in within and any(map(is_dataclass, get_args(kind)))}
    single = {name for name in known if name not in within and not name.startswith(tuple(f"{o}." for o in optional))}
    system = [next(name for name in SYSTEMS if name != "mug")] if command.name == "finetune" else []
    shown = [full(name, known) for names in groups([command.name, *system], capsys).values() for name in names]
    expected = single - set(command.positional) | {"config", "help"} | {f"{name}.help" for name in optional}
    assert sorted(shown) == sorted(expected)


def test_what_a_call_needs_is_among_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert groups(["evaluate"], capsys)["common options"][:3] == ["task", "gt", "out"]
    assert groups(["finetune", "agnn"], capsys)["common options"] == ["data", "out", "weights", "device", "steps"]
    assert "device" in groups(["segment"], capsys)["common options"]
    assert "mask" in groups(["propagate"], capsys)["common options"]
