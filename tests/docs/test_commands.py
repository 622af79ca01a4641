"""The documents speak of the commands that are there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from mug.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    "README.md",
    "CONTRIBUTING.md",
    "docs/how-to.md",
    "docs/reference.md",
    "docs/datasets.md",
    "docs/protocols.md",
]


@pytest.mark.parametrize("document", ["README.md", "docs/reference.md"])
def test_table_of_commands_is_complete(document: str) -> None:
    rows = re.findall(r"^\| `mug ([a-z-]+)` \|", (ROOT / document).read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(command.name for command in COMMANDS)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_examples_call_commands_that_exist(document: str) -> None:
    text = (ROOT / document).read_text()
    called = set(re.findall(r"^mug ([a-z-]+)", text, re.MULTILINE))
    assert called <= {command.name for command in COMMANDS}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_and_configs_exist(document: str) -> None:
    path = ROOT / document
    text = path.read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    for target in links:
        assert (path.parent / target).exists(), target
    for config in re.findall(r"configs/[\w/]+\.yaml", text):
        assert (ROOT / config).exists(), config


def test_command_is_installed_under_its_name() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["name"] == "mug-vos"
    assert project["scripts"] == {"mug": "mug.cli:main"}
    assert set(project["optional-dependencies"]) == {"crf", "dev", "imagenet", "timm"}
    assert not any("pydensecrf" in requirement for requirement in project["dependencies"])
