"""The documents speak of commands, options and targets that are there."""

from __future__ import annotations

import re
import shlex
from contextlib import suppress
from functools import cache

import pytest

from downstream.systems.base import SYSTEMS
from mug import cli
from mug.command.names import RENAMED, SHORT
from mug.command.options import leaves, parse
from mug.errors import InputError
from mug.lazy import resolve
from tests.docs.documents import DOCUMENTS, ROOT, blocks, current, spans

INCOMPLETE = re.compile("^missing |expected one argument|: '[A-Z]+' will not do")
"""What may be refused of a command that is only mentioned: its other options, and words that stand for a value."""


@pytest.fixture(autouse=True)
def in_the_clone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Configurations are named from there."""
    monkeypatch.chdir(ROOT)


@cache
def refusal(line: str) -> str:
    """What `mug` has against the words of a command line, before the command itself is imported."""
    _, name, *arguments = shlex.split(line, comments=True)
    try:
        command = cli.find(name)
        options = resolve(command.options) if command.options else None
        if options is not None and not isinstance(options, type):
            options = options(arguments)
        with suppress(SystemExit):  # after `--help`
            parse(f"mug {name}", options, command.positional, arguments)
    except InputError as error:
        return str(error)
    return ""


def option_names(command: cli.Command, system: str) -> set[str]:
    """What may be spelt after `--` of a command, where it runs that system."""
    options = resolve(command.options) if command.options else None
    if options is not None and not isinstance(options, type):
        options = options([system, "--system", system])
    return {name for name, _ in leaves(options)} if options else set()


@pytest.fixture(scope="module")
def every_option() -> set[str]:
    """The options of all commands with all systems."""
    found = {"config", "help", "version", "quiet", "verbose", *SHORT}
    for command in cli.COMMANDS:
        for system in SYSTEMS:
            with suppress(InputError):  # a system that does something else
                found |= option_names(command, system)
    return found


def calls(code: str) -> list[str]:
    """The lines that call `mug`, but for those that stand for any command."""
    lines = code.replace("\\\n", " ").splitlines()
    return [
        f"mug {called[1]}" for line in lines if (called := re.match(r"(?:srun |torchrun .*-m )?mug ([a-z].*)", line))
    ]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_examples_are_understood(document: str) -> None:
    for line in (line for block in blocks(current(document), "bash") for line in calls(block)):
        assert not refusal(line), line


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_in_passing_are_understood(document: str) -> None:
    for line in (line for span in spans(current(document)) for line in calls(span)):
        said = refusal(line)
        assert not said or INCOMPLETE.search(said), (line, said)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_options_in_passing_are_some_commands(document: str, every_option: set[str]) -> None:
    earlier = {old for old, _ in RENAMED} if document == "CHANGELOG.md" else set()
    for span in spans(current(document)):
        if written := re.match("--([^ =]+)", span):
            name = written[1].replace("-", "_").removesuffix(".*")  # `--instance.*` is a group
            assert {name, name.removeprefix("no_")} & (every_option | earlier), span


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("mug propagat clip.mp4", "is no command"),
        ("mug propagate clip.mp4 --out masks --presett mug", "is no option"),
        ("mug propagate clip.mp4 --out masks --preset nobodys", "will not do"),
        ("mug pretrain --config configs/absent.yaml --videos clips --out run", "cannot be read"),
        ("mug propagate clip.mp4", "missing --out"),
    ],
)
def test_what_is_wrong_is_found(line: str, says: str) -> None:
    assert says in refusal(line)


def test_table_of_commands_is_complete() -> None:
    rows = re.findall(r"^\| `mug ([a-z-]+)` \|", current("docs/reference.md"), re.MULTILINE)
    assert sorted(rows) == sorted(command.name for command in cli.COMMANDS)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_targets_of_make_exist(document: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    code = [line for block in blocks(current(document)) for line in block.splitlines()] + spans(current(document))
    for line in code:
        if called := re.match(r"make ([a-z-]+)", line):
            assert called[1] in targets, line
