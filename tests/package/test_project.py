"""What pyproject.toml promises."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_command_is_installed_under_its_name() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["name"] == "mug-vos"
    assert project["scripts"] == {"mug": "mug.cli:main"}
    assert set(project["optional-dependencies"]) == {"crf", "dev", "imagenet", "timm"}
    assert not any("pydensecrf" in requirement for requirement in project["dependencies"])
