"""The documents of the project, and what is code in them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from mug import __version__

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    *sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/**/*.md")),
]


class Block(NamedTuple):
    """A fenced block of code."""

    language: str
    """`bash` for commands, `python`, or empty for layouts and formats."""
    title: str
    """The file that it is, where the document says so."""
    code: str


def current(document: str) -> str:
    """What a document says of the code as it is: of the changelog, what is unreleased and what the version adds."""
    text = (ROOT / document).read_text()
    if document != "CHANGELOG.md":
        return text
    sections = re.split(r"^(?=## \[)", text, flags=re.MULTILINE)
    return "".join(part for part in sections if part.startswith(("## [Unreleased]", f"## [{__version__}]")))


def fenced(text: str) -> list[Block]:
    """All fenced blocks, in order."""
    found = re.findall(r'^```(\w*)(?: title="([^"]+)")?\n(.*?)^```$', text, re.MULTILINE | re.DOTALL)
    assert 2 * len(found) == len(re.findall(r"^```", text, re.MULTILINE)), "a fence that is not understood"
    return [Block(*parts) for parts in found]


def blocks(text: str, *languages: str) -> list[str]:
    """Code of the blocks in these languages; of all without any."""
    return [block.code for block in fenced(text) if not languages or block.language in languages]


def lines_of(code: str) -> list[str]:
    """The command lines of a block, continued ones joined, without comments."""
    joined = code.replace("\\\n", " ").splitlines()
    return [line for raw in joined if (line := re.sub(r"\s+#\s.*$|^#\s.*$", "", raw).strip())]


def spans(text: str) -> list[str]:
    """Inline code, on one line each."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return [" ".join(span.replace("\\|", "|").split()) for span in re.findall(r"`([^`]+)`", prose)]
