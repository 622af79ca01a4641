"""What pyproject.toml and the files around the packages promise."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from mug import __version__

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_command_is_installed_under_its_name(project: dict) -> None:
    assert project["name"] == "mug-vos"
    assert project["scripts"] == {"mug": "mug.cli:main"}
    extras = {"browser", "coco", "crf", "dev", "docs", "hub", "imagenet", "onnx", "test", "timm", "webdataset"}
    assert set(project["optional-dependencies"]) == extras
    assert not any("pydensecrf" in requirement for requirement in project["dependencies"])


def test_one_version_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == __version__
    released = re.findall(r"^## \[(\d[^\]]*)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert released[0] == __version__


def test_every_requirement_has_a_floor(project: dict) -> None:
    done = subprocess.run([sys.executable, ".ci/lowest.py"], cwd=ROOT, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert len(lines) == len(project["dependencies"] + project["optional-dependencies"]["test"])
    assert all(re.fullmatch(r"[\w-]+==[\d.]+\.\*", line) for line in lines)
    assert {"torch==2.11.*", "torchvision==0.26.*"} <= set(lines)


def test_the_workflow_tests_every_python_that_is_promised(project: dict) -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    tested = workflow["jobs"]["test"]["strategy"]["matrix"]["python"]
    named = [line.split(" :: ")[-1] for line in project["classifiers"] if "Python :: 3." in line]
    assert tested == named
    assert project["requires-python"] == f">={named[0]}"


@pytest.mark.parametrize("form", sorted(path.name for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")))
def test_issue_forms_are_complete(form: str) -> None:
    content = yaml.safe_load((ROOT / ".github/ISSUE_TEMPLATE" / form).read_text())
    if form != "config.yml":
        assert {"name", "description", "body"} <= set(content)
        fields = [part for part in content["body"] if part["type"] != "markdown"]
        assert len({part["id"] for part in fields}) == len(fields)


@pytest.mark.skipif(shutil.which("ruff", path=Path(sys.executable).parent) is None, reason="needs the extra `dev`")
@pytest.mark.parametrize("arguments", ["check .", "format --check ."])
def test_ruff_has_nothing_to_say(arguments: str) -> None:
    ruff = Path(sys.executable).with_name("ruff")
    done = subprocess.run([ruff, *arguments.split()], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_files_are_short_and_folders_small() -> None:
    """A file is one idea, a folder one kind."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("no clone")
    paths = [Path(line) for line in tracked.stdout.splitlines()]
    long = {str(path) for path in paths if path.suffix == ".py" and len((ROOT / path).read_text().splitlines()) > 350}
    assert not long
    folders = [path.parent for path in paths if path.parent != Path()]
    assert not {str(folder) for folder in folders if folders.count(folder) > 15}
