"""The site: every page can be reached, every public name has its entry, and a strict build has nothing to say."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

import mug
from tests.docs.documents import ROOT

BUILT = all(map(find_spec, ("mkdocs", "material", "mkdocstrings")))


def pages(entry: Any) -> list[str]:
    """The pages of a navigation entry."""
    if isinstance(entry, str):
        return [entry]
    below = entry.values() if isinstance(entry, dict) else entry
    return [page for part in below for page in pages(part)]


def test_every_page_is_in_the_navigation() -> None:
    listed = pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    docs = ROOT / "docs"
    assert sorted(listed) == sorted(path.relative_to(docs).as_posix() for path in docs.rglob("*.md"))


def test_every_public_name_is_in_the_api() -> None:
    entries = re.findall(r"^::: mug\.(\w+)$", (ROOT / "docs/api.md").read_text(), re.MULTILINE)
    assert sorted(entries) == sorted(mug.PUBLIC)


def test_the_picture_is_small() -> None:
    assert (ROOT / "docs/mug.webp").stat().st_size < 1.5e6


@pytest.mark.skipif(not BUILT, reason="needs the extra `docs`")
def test_it_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    api = (tmp_path / "site/api/index.html").read_text()
    assert "Segments the main object of a video" in api
