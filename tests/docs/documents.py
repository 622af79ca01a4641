"""The documents of the project, and what is code in them."""

from __future__ import annotations

import re
from pathlib import Path

from mug import __version__

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", *sorted(f"docs/{p.name}" for p in ROOT.glob("docs/*.md"))]


def current(document: str) -> str:
    """What a document says of the code as it is: of the changelog, what is unreleased and what the version adds."""
    text = (ROOT / document).read_text()
    if document != "CHANGELOG.md":
        return text
    sections = re.split(r"^(?=## \[)", text, flags=re.MULTILINE)
    return "".join(part for part in sections if part.startswith(("## [Unreleased]", f"## [{__version__}]")))


def blocks(text: str, language: str = "") -> list[str]:
    """Fenced code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def spans(text: str) -> list[str]:
    """Inline code, on one line each."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return [" ".join(span.replace("\\|", "|").split()) for span in re.findall(r"`([^`]+)`", prose)]
