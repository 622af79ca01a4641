"""Prints constraints for pip: of each requirement the lowest release line that pyproject.toml admits."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

REQUIREMENT = re.compile(r"(?P<name>[\w-]+)(\[[\w,]+\])?>=(?P<floor>[\d.]+)")


def lowest(project: dict[str, Any]) -> list[str]:
    """`name==floor.*` for each requirement `name>=floor` of the package and of its tests."""
    requirements = project["dependencies"] + project["optional-dependencies"]["test"]
    return [REQUIREMENT.sub(r"\g<name>==\g<floor>.*", requirement) for requirement in requirements]


if __name__ == "__main__":
    print(*lowest(tomllib.loads(Path("pyproject.toml").read_text())["project"]), sep="\n")
