"""Self-contained HTML pages: text, tables and pictures, without external resources.

The templates are in `templates/`. Text arguments are escaped; the functions return `Markup`, which is not escaped
again.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader
from markupsafe import Markup
from PIL import Image

from mug.errors import InputError
from mug.media.files import atomic_path, require_free_disk

GENERATOR = '<meta name="generator" content="mug report">'
"""Marks pages written by mug; other files are never overwritten."""
MAX_PICTURE_WIDTH = 1600
JPEG_QUALITY = 86


@cache
def templates() -> Environment:
    """The template environment."""
    loader = PackageLoader("downstream", "pages/templates")
    return Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)


def part(name: str, *values: Any) -> Markup:
    """Renders a macro of `templates/parts.html`."""
    macro = getattr(templates().get_template("parts.html").module, name)
    return Markup(str(macro(*values)).strip())


def write_page(path: Path, title: str, parts: Iterable[Markup]) -> None:
    """Writes a page from parts of HTML, atomically.

    Args:
        path: An .html file; an existing page of mug is replaced.
        title: Plain text.
        parts: HTML.

    Raises:
        InputError: another file exists at `path`, or the disk is full.
    """
    check_page(path)
    require_free_disk(path.parent)
    with atomic_path(path) as temporary:
        stream = templates().get_template("page.html").stream(title=title, parts=parts)
        stream.dump(str(temporary), encoding="utf-8")


def check_page(path: Path) -> None:
    """Creates the page's folder; raises `InputError` if no page can be written to `path`."""
    if path.is_dir():
        raise InputError(f"{path}: is a folder; name an .html file for the page")
    if path.exists() and GENERATOR.encode() not in path.read_bytes()[:400]:
        raise InputError(f"{path}: is there already and no page of mug's; name another file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path.parent}: cannot be made ({error.strerror}); choose another place") from error


def paragraph(text: str, style: str = "") -> Markup:
    """Plain text as a paragraph."""
    return part("paragraph", text, style)


def heading(text: str, level: int = 2) -> Markup:
    """Plain text as a heading."""
    return part("heading", text, level)


def table(header: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "", words: bool = False) -> Markup:
    """A table of plain text that scrolls sideways on a narrow screen.

    Args:
        header: Column names.
        rows: Rows; the first cell of each is its name.
        caption: Text above the table.
        words: Whether the other cells are words, aligned left, or numbers, aligned right.
    """
    return part("table", header, rows, caption, words)


def tiles(facts: Iterable[tuple[str, str]]) -> Markup:
    """A few large figures: (what, figure)."""
    return part("tiles", facts)


def strip(images: Sequence[np.ndarray], caption: str) -> Markup:
    """Pictures of equal size (HWC or HW uint8) side by side."""
    pictures = [image_tag(image, f"{caption}, {n} of {len(images)}") for n, image in enumerate(images, 1)]
    return part("figure", part("strip", pictures), caption)


def picture(image: np.ndarray, caption: str) -> Markup:
    """One picture (HWC or HW uint8) with a caption."""
    return part("figure", image_tag(image, caption), caption)


def image_tag(image: np.ndarray, description: str) -> Markup:
    """An image element with its picture embedded in the page."""
    return part("image", embed(image), description)


def embed(image: np.ndarray) -> str:
    """A picture (HWC or HW uint8) as a data URL: JPEG, no wider than `MAX_PICTURE_WIDTH`."""
    encoded = Image.fromarray(image)
    if encoded.width > MAX_PICTURE_WIDTH:
        encoded = encoded.resize((MAX_PICTURE_WIDTH, round(encoded.height * MAX_PICTURE_WIDTH / encoded.width)))
    buffer = io.BytesIO()
    encoded.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
