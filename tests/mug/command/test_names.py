"""An option has one name and one meaning in all commands, and a wrong name gets the right one as the answer."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from dataclasses import is_dataclass
from pathlib import Path

import pytest

from downstream.systems.base import SYSTEMS
from mug.cli import COMMANDS, Command, main
from mug.command.names import RENAMED, SHORT
from mug.command.options import leaves
from mug.errors import InputError
from mug.lazy import resolve

TWO_MEANINGS = {
    "images": "`synth-groups` counts what it makes, `cosegment` takes a folder",
    "to": "`export` writes networks, `masks` writes masks",
    "videos": "`synth` counts what it makes, the others take a place",
    "objects": "`synth` makes one to three (`1..3`), RVOS and A-GAME know a largest number",
}
"""Names with values of more than one kind, and why that does not mislead."""


def options_of(command: Command) -> list[type]:
    """The options of a command, with every system that it takes."""
    options = resolve(command.options) if command.options else None
    if options is None or isinstance(options, type):
        return [options] if options else []
    found = []
    for system in SYSTEMS:
        with suppress(InputError):  # a system that does something else
            found.append(options([system, "--system", system]))
    return found


@pytest.fixture(scope="module")
def kinds() -> dict[str, set[str]]:
    """The kinds of value of every option, but for groups; a single value and a list of them are one kind."""
    found: dict[str, set[str]] = defaultdict(set)
    for options in {options for command in COMMANDS for options in options_of(command)}:
        for name, kind in leaves(options):
            if not is_dataclass(kind):
                whole = kind.__name__ if isinstance(kind, type) else str(kind).replace("pathlib._local.", "pathlib.")
                lists = ("list[pathlib.Path] | ", "list[str | None] | ")
                for extra in (*lists, " | None", "typing.Optional", "typing.", "pathlib."):
                    whole = whole.replace(extra, "")
                found[name].add(whole)
    return found


def test_a_name_has_one_meaning(kinds: dict[str, set[str]]) -> None:
    assert {name for name, kind in kinds.items() if len(kind) > 1} == set(TWO_MEANINGS)


def test_earlier_names_are_gone(kinds: dict[str, set[str]]) -> None:
    gone = {"num_workers", "engine.accelerator", "warmup.weights", "initial"}
    assert gone <= {old for old, _ in RENAMED}
    assert not gone & kinds.keys()


def test_device_and_seed_are_called_so_everywhere(kinds: dict[str, set[str]]) -> None:
    for short, long in SHORT.items():
        assert long in kinds
        alike = {name for name in kinds if name.split(".")[-1] == short}
        assert alike <= {short, long}, alike
    assert not [name for name in kinds if name.split(".")[-1] in ("num_workers", "jobs", "accelerator", "gpu", "rng")]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("pretrain --num_workers 3", "no option of `mug pretrain` any more: it is now --workers"),
        ("pretrain --weights.short 0", "it is now --loss.short"),
        ("pretrain --initial r18.pth", "it is now --weights"),
        ("pretrain --labels maps", "it is now --maps"),
        ("finetune agnn --engine.accelerator cpu", "it is now --device"),
        ("finetune agnn --carry 2", "it is now --graphs"),
        ("finetune cosnet --carry 2", "--carry is no option of `mug finetune`\n"),
        ("prior clips --weights r18.pth", "it is now --classifier_weights"),
        ("evaluate --data DAVIS", "did you mean --gt?"),
        ("evaluate --results masks", "did you mean --pred?"),
        ("finetune agnn --gt DAVIS", "did you mean --data?"),
        ("segment --videos clip.mp4", "VIDEOS goes without a name: `mug segment VIDEOS`"),
        ("segment --input clip.mp4", "VIDEOS goes without a name: `mug segment VIDEOS`"),
        ("segment c --output masks", "did you mean --out?"),
        ("segment c --gpu 0", "did you mean --device?"),
        ("finetune agnn --gpu 0", "did you mean --device?"),
        ("propagate c --preset mug --precison 32", "--precison is no option of `mug propagate`"),
        ("finetune agnn --precison 32-true", "did you mean --precision?"),
        ("evaluate A B", "`mug evaluate` takes named options alone, such as --task and --gt"),
        ("segment a b --out c", "`mug segment` takes VIDEOS and named options"),
        ("doctor all", "`mug doctor` takes none"),
    ],
)
def test_a_wrong_name_is_put_right(words: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split()) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert says in error


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("num_workers: 3", "'num_workers' is now 'workers'"),
        ("weights: {short: 0.5}", "'weights.short' is now 'loss.short'"),
        ("warmup: {weights: {short: 0.5}}", "'warmup.weights' is now 'warmup.loss'"),
        ("engine: {accelerator: cpu}", "'engine.accelerator' is now 'engine.device'"),
    ],
)
def test_a_file_of_an_earlier_version_is_put_right(
    content: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "old.yaml"
    file.write_text(content)
    assert main(["pretrain", "--config", str(file)]) == 2
    assert f"{file}: {says}\n" in capsys.readouterr().err
