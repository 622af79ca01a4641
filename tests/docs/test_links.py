"""Links, paths and names in the documents lead somewhere."""

from __future__ import annotations

import ast
import pkgutil
import re
from pathlib import Path

import pytest

from tests.docs.documents import DOCUMENTS, ROOT, blocks, current, spans

PACKAGES = ("mug", "agnn_head", "pretrain", "downstream")
FOLDERS = (*PACKAGES, "configs", "benchmarks", "tests", "docs", "examples")


def anchors(document: Path) -> set[str]:
    """What GitHub makes of the headings of a document."""
    prose = re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    seen: dict[str, int] = {}
    for heading in re.findall(r"^#+ (.+)$", prose, re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        seen[slug] = seen.get(slug, -1) + 1
        if seen[slug]:
            seen[f"{slug}-{seen[slug]}"] = 0
    return set(seen)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_relative_links_lead_to_a_file_and_a_heading(document: str) -> None:
    here = ROOT / document
    for link in re.findall(r"\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)", here.read_text(), re.MULTILINE):
        path, _, anchor = "".join(link).partition("#")
        if "://" in path:
            continue
        target = here.parent / path if path else here
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_anchors_are_those_of_github(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("# How `mug` works, in 2 steps\n\n```\n# no heading\n```\n## A\n## A\n")
    assert anchors(tmp_path / "page.md") == {"how-mug-works-in-2-steps", "a", "a-1"}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_paths_of_the_repository_exist(document: str) -> None:
    named = [word for code in (*spans(current(document)), *blocks(current(document))) for word in code.split()]
    for path in named:
        if re.fullmatch(rf"({'|'.join(FOLDERS)})/[\w./-]*", path):
            assert (ROOT / path).exists(), path


@pytest.mark.parametrize("document", DOCUMENTS)
def test_python_names_of_the_packages_exist(document: str) -> None:
    text = current(document)
    dotted = [span for span in spans(text) if re.fullmatch(rf"({'|'.join(PACKAGES)})(\.\w+)+", span)]
    for block in blocks(text, "python"):
        imports = [node for node in ast.walk(ast.parse(block)) if isinstance(node, ast.ImportFrom) and node.module]
        dotted += [f"{n.module}.{name.name}" for n in imports if n.module.startswith(PACKAGES) for name in n.names]
    for name in dotted:
        pkgutil.resolve_name(name)
