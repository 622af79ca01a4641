"""Every bad input of every command: status 2, one line that names what is wrong, and nothing changed on disk."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch

from mug.cli import COMMANDS, main
from tests.docs.documents import ROOT
from tests.reliability.bad_inputs import TABLE, Bad
from tests.reliability.world import snapshot, words_of

CASES = [
    pytest.param(kind, bad, id=f"{kind.replace(' ', '_')}-{bad.command}-{number}")
    for kind, cases in TABLE.items()
    for number, bad in enumerate(cases)
]


@pytest.mark.parametrize(("kind", "bad"), CASES)
def test_bad_input_gets_one_line_and_changes_nothing(
    kind: str,
    bad: Bad,
    root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    if kind == "full disk":
        usage = shutil.disk_usage(root)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2**20))
    bad.spoil(root)
    before = snapshot(tmp_path)
    words = with_more(words_of(bad.command, root), [word.format(root=root) for word in bad.more])
    assert main(words) == 2
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if line.startswith("mug: error: ")] == said[-1:], said
    assert bad.says.format(root=root) in said[-1]
    assert snapshot(tmp_path) == before


def with_more(words: list[str], more: list[str]) -> list[str]:
    """The words of a command with others, which replace its first positional ones."""
    places = [word for word in more if not word.startswith("--")]
    if more[:1] == places[:1] and places:
        return [words[0], more[0], *words[2:], *more[1:]]
    return [*words, *more]


def test_the_counts_in_the_document_are_right() -> None:
    """`docs/reliability.md` holds this table."""
    assert counts() in (ROOT / "docs/reliability.md").read_text(), counts()


def test_every_command_and_many_inputs_are_tried() -> None:
    tried = {(bad.command, kind, number) for kind, cases in TABLE.items() for number, bad in enumerate(cases)}
    assert len(tried) >= 80
    assert {bad.command for cases in TABLE.values() for bad in cases} == {command.name for command in COMMANDS}


def counts() -> str:
    """The number of cases by kind and by command, in Markdown."""
    names = [command.name for command in COMMANDS]
    lines = [["bad input", *(f"`{name}`" for name in names), "all"], ["---", *["---:"] * (len(names) + 1)]]
    for kind, cases in TABLE.items():
        found = Counter(bad.command for bad in cases)
        lines.append([kind, *(str(found[name] or "") for name in names), str(len(cases))])
    found = Counter(bad.command for cases in TABLE.values() for bad in cases)
    lines.append(["all", *(str(found[name] or "") for name in names), str(found.total())])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
