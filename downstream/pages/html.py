"""Self-contained HTML pages: text, tables, pictures and charts, without external resources.

The templates are in `templates/`, with the scripts of the page. Charts are drawn by uPlot, whose files and licence are
in `vendor/`: of the libraries that draw them well, it is the smallest (50 kB; Chart.js has 200 kB, Plotly 4 MB), and it
tells which point is under the cursor. Text arguments are escaped; the functions return `Markup`, which is not escaped
again.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment, PackageLoader
from markupsafe import Markup
from PIL import Image

from mug.errors import InputError
from mug.media.files import atomic_path, require_free_disk

GENERATOR = '<meta name="generator" content="mug report">'
"""Marks pages written by mug; other files are never overwritten."""
VENDOR = Path(__file__).with_name("vendor")
MAX_PICTURE_WIDTH = 1600
JPEG_QUALITY = 86


@cache
def templates() -> Environment:
    """The template environment."""
    loader = PackageLoader("downstream", "pages/templates")
    return Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)


class Cell(NamedTuple):
    """A cell of a table, with what sorting and drawing need."""

    text: str
    value: float | str | None = ""
    """The number to sort by, None if it was not measured, which is sorted last; "" sorts by the text."""
    bar: float | None = None
    """Length of a bar behind the text, as a share of the cell."""
    link: str = ""
    """Identifier of an element of the page that a click leads to."""


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
        stream = templates().get_template("page.html").stream(title=title, parts=parts, **_uplot())
        stream.dump(str(temporary), encoding="utf-8")


def _uplot() -> dict[str, Markup]:
    """The chart library, with its licence."""
    files = {"uplot_js": "uplot.js", "uplot_css": "uplot.css", "uplot_licence": "uplot.LICENSE"}
    return {name: Markup((VENDOR / file).read_text(encoding="utf-8").strip()) for name, file in files.items()}


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


def table(
    header: Sequence[str],
    rows: Iterable[Sequence[str | Cell]],
    caption: str = "",
    words: bool = False,
    foot: Iterable[Sequence[str | Cell]] = (),
) -> Markup:
    """A table that scrolls sideways on a narrow screen, and is sorted by a click on the name of a column.

    Args:
        header: Column names.
        rows: Rows; the first cell of each is its name.
        caption: Text above the table.
        words: Whether the other cells are words, aligned left, or numbers, aligned right. Words are not sorted.
        foot: Rows that stay at the end, such as the mean.
    """
    return part("table", header, list(rows), caption, words, list(foot))


def share_cell(text: str, fraction: float | None) -> Cell:
    """A cell for a fraction of 1: sorted by it, with a bar as long."""
    return Cell(text, fraction, fraction)


def tiles(facts: Iterable[tuple[str, str]]) -> Markup:
    """A few large figures: (what, figure)."""
    return part("tiles", facts)


def strip(images: Sequence[np.ndarray], caption: str, link: Cell | None = None) -> Markup:
    """Pictures of equal size (HWC or HW uint8) side by side; the caption may begin with a link."""
    pictures = [image_tag(image, f"{caption}, {n} of {len(images)}") for n, image in enumerate(images, 1)]
    return part("figure", part("strip", pictures), caption, link)


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
