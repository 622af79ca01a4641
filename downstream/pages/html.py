"""One self-contained HTML page: text, tables, pictures and curves, with nothing loaded from elsewhere."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from mug.errors import InputError
from mug.media.files import atomic_path, require_free_disk

GENERATOR = '<meta name="generator" content="mug report">'
"""Tells our pages from a user's own, which are never written over."""
MAX_PICTURE_WIDTH = 1600
JPEG_QUALITY = 86

STYLE = """
:root { color-scheme: light dark; --ground: #fbfbfa; --ink: #1d1f21; --soft: #676b70; --rule: #dfe0de; --card: #fff;
  --blue: #2563c9; --orange: #c2570c; }
@media (prefers-color-scheme: dark) { :root { --ground: #16181a; --ink: #e8e8e6; --soft: #9a9ea3; --rule: #33373b;
  --card: #1e2124; --blue: #78a9ff; --orange: #ff9d57; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
main { max-width: 64rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0.5rem 0 0.75rem; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 0.5rem; padding-top: 0.9rem; border-top: 1px solid var(--rule); }
h3 { font-size: 1rem; margin: 1.4rem 0 0.4rem; }
p, ol, ul { max-width: 44rem; margin: 0.5rem 0; }
code { font: 0.85em ui-monospace, monospace; overflow-wrap: anywhere; }
.soft, figcaption, caption { color: var(--soft); font-size: 0.88rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: 0.8rem 0; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: 0.3rem; }
th, td { padding: 0.3rem 0.8rem 0.3rem 0; text-align: right; border-bottom: 1px solid var(--rule); }
th { font-weight: 600; font-size: 0.88rem; white-space: nowrap; }
th:first-child, td:first-child, .words td, .words th { text-align: left; }
.words td:first-child { white-space: nowrap; }
.tiles, .charts { display: grid; gap: 0.8rem; margin: 1rem 0;
  grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); }
.tiles > div, .charts > figure { background: var(--card); border: 1px solid var(--rule); border-radius: 8px;
  padding: 0.7rem 0.9rem; margin: 0; }
.tiles b { display: block; font-size: 1.6rem; line-height: 1.3; }
figure { margin: 0.8rem 0; }
img { max-width: 100%; height: auto; display: block; border-radius: 4px; }
.strip { display: grid; gap: 4px; grid-template-columns: repeat(var(--columns), minmax(0, 1fr)); }
.strip img { width: 100%; }
svg { width: 100%; height: auto; display: block; }
svg text { fill: var(--soft); font: 11px system-ui, sans-serif; }
svg .axis { stroke: var(--rule); stroke-width: 1; }
svg .round { stroke: var(--soft); stroke-width: 1; stroke-dasharray: 3 3; }
svg .raw { fill: none; stroke: var(--blue); stroke-width: 1; opacity: 0.28; }
svg .dot { fill: var(--blue); opacity: 0.7; }
svg .line { fill: none; stroke: var(--blue); stroke-width: 2; stroke-linejoin: round; }
"""


def write_page(path: Path, title: str, parts: Iterable[str]) -> None:
    """Writes a page made of pieces of HTML, whole or not at all.

    Args:
        path: An .html file; a page of ours that lies there is replaced.
        title: Plain text.
        parts: HTML.

    Raises:
        InputError: something else lies at `path`, or the disk is full.
    """
    check_page(path)
    require_free_disk(path.parent)
    head = (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">{GENERATOR}'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>\n<h1>{escape(title)}</h1>\n"
    )
    with atomic_path(path) as temporary:
        temporary.write_text(head + "\n".join(parts) + "\n</main></body></html>\n", encoding="utf-8")


def check_page(path: Path) -> None:
    """Makes the page's folder, and raises `InputError` unless a page can be written to `path`."""
    if path.is_dir():
        raise InputError(f"{path}: is a folder; name an .html file for the page")
    if path.exists() and GENERATOR.encode() not in path.read_bytes()[:400]:
        raise InputError(f"{path}: is there already and no page of mug's; name another file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path.parent}: cannot be made ({error.strerror}); choose another place") from error


def paragraph(text: str, style: str = "") -> str:
    """Plain text as a paragraph."""
    return f'<p class="{style}">{escape(text)}</p>' if style else f"<p>{escape(text)}</p>"


def heading(text: str, level: int = 2) -> str:
    """Plain text as a heading."""
    return f"<h{level}>{escape(text)}</h{level}>"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "", words: bool = False) -> str:
    """Rows of plain text that scroll sideways on a narrow screen.

    Args:
        header: What the columns are.
        rows: The first cell of each names it.
        caption: Stands above.
        words: Whether the other cells are words, which begin on the left, or numbers, which end on the right.
    """
    top = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    label = f"<caption>{escape(caption)}</caption>" if caption else ""
    style = ' class="words"' if words else ""
    return f'<div class="scroll"><table{style}>{label}<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def tiles(facts: Iterable[tuple[str, str]]) -> str:
    """A few figures, large: (what, figure)."""
    cells = "".join(f"<div>{escape(name)}<b>{escape(value)}</b></div>" for name, value in facts)
    return f'<div class="tiles">{cells}</div>'


def strip(images: Sequence[np.ndarray], caption: str) -> str:
    """Pictures of one size (HWC or HW uint8) side by side."""
    columns = f"--columns: {len(images)}"
    pictures = "".join(image_tag(image, f"{caption}, {n} of {len(images)}") for n, image in enumerate(images, 1))
    return f'<figure><div class="strip" style="{columns}">{pictures}</div>{_caption(caption)}</figure>'


def picture(image: np.ndarray, caption: str) -> str:
    """One picture, HWC or HW uint8."""
    return f"<figure>{image_tag(image, caption)}{_caption(caption)}</figure>"


def image_tag(image: np.ndarray, description: str) -> str:
    """An image element whose picture is part of the page."""
    return f'<img src="{embed(image)}" alt="{escape(description, quote=True)}">'


def embed(image: np.ndarray) -> str:
    """A picture (HWC or HW uint8) as a data address: JPEG, no wider than a screen."""
    encoded = Image.fromarray(image)
    if encoded.width > MAX_PICTURE_WIDTH:
        encoded = encoded.resize((MAX_PICTURE_WIDTH, round(encoded.height * MAX_PICTURE_WIDTH / encoded.width)))
    buffer = io.BytesIO()
    encoded.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _caption(text: str) -> str:
    return f"<figcaption>{escape(text)}</figcaption>" if text else ""


# --- curves ----------------------------------------------------------------------------------------------------------

WIDTH, HEIGHT = 320, 170
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 10, 24


def charts(curves: Iterable[str]) -> str:
    """Curves side by side, as many as the screen is wide."""
    return f'<div class="charts">{"".join(curves)}</div>'


def curve(title: str, x: Sequence[float], y: Sequence[float], marks: Sequence[float] = ()) -> str:
    """A line over steps: as it is, faint, and smoothed.

    Args:
        title: Says what is drawn.
        x: Steps, increasing.
        y: As many values; those that are not finite are gaps.
        marks: Steps at which a dashed upright line stands.

    Returns:
        A figure with an SVG picture.
    """
    steps, values = np.asarray(x, float), np.asarray(y, float)
    kept = np.isfinite(values)
    steps, values = steps[kept], values[kept]
    if not len(values):
        return f"<figure>{escape(title)}<p class='soft'>nothing recorded</p></figure>"
    # a first step far above all others must not flatten the rest of the curve
    low, high = np.quantile(values, (0.0, 0.99))
    low, high = min(low, values[-1]), max(high, values[-1])
    ticks = nice_ticks(float(low), float(high))
    low, high = min(low, ticks[0]), max(high, ticks[-1])
    left, right = (steps[0], steps[-1]) if len(steps) > 1 else (steps[0] - 1, steps[0] + 1)
    px = LEFT + (steps - left) / (right - left) * (WIDTH - LEFT - RIGHT)

    def height_of(value: np.ndarray | float) -> np.ndarray:
        share = np.clip((np.asarray(value) - low) / (high - low), 0, 1)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    parts = []
    for tick in ticks:
        at = float(height_of(tick))
        parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for mark in marks:
        at = LEFT + (mark - left) / (right - left) * (WIDTH - LEFT - RIGHT)
        parts.append(f'<line class="round" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
    for step, anchor, at in ((steps[0], "start", LEFT), (steps[-1], "end", WIDTH - RIGHT)):
        parts.append(f'<text x="{at}" y="{HEIGHT - 7}" text-anchor="{anchor}">step {step:g}</text>')
    parts.append(f'<polyline class="raw" points="{_points(px, height_of(values))}"/>')
    parts.append(f'<polyline class="line" points="{_points(px, height_of(smooth(values)))}"/>')
    label = f"{title}: {values[0]:.3g} at first, {values[-1]:.3g} at last"
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'
    return f"<figure>{escape(title)}{svg}</figure>"


def dots(title: str, points: Mapping[str, tuple[float, float]], across: str, up: str) -> str:
    """A dot for each name, on two axes alike that begin at 0, with the diagonal dashed.

    Args:
        title: Says what is drawn.
        points: (x, y), at least 0, by the names that dots answer to.
        across: What x is.
        up: What y is.

    Returns:
        A figure with an SVG picture.
    """
    ticks = nice_ticks(0.0, max((value for point in points.values() for value in point), default=1.0))
    side = WIDTH - LEFT - RIGHT
    bottom = TOP + side

    def place(x: float, y: float) -> tuple[float, float]:
        return LEFT + x / ticks[-1] * side, bottom - y / ticks[-1] * side

    parts = []
    for tick in ticks:
        x, y = place(tick, tick)
        parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 14}" text-anchor="middle">{tick:g}</text>')
    parts.append(f'<line class="round" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom}" y2="{TOP}"/>')
    for name, point in points.items():
        x, y = place(*point)
        label = f"{name}: {point[0]:.3g}, {point[1]:.3g}"
        parts.append(f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="4"><title>{escape(label)}</title></circle>')
    parts.append(f'<text x="{LEFT + side / 2:.1f}" y="{bottom + 30}" text-anchor="middle">{escape(across)}</text>')
    parts.append(f'<text x="{LEFT + 6}" y="{TOP + 12}">{escape(up)}</text>')
    label = escape(f"{title}: {up} against {across}, {len(points)} dots", quote=True)
    svg = f'<svg viewBox="0 0 {WIDTH} {bottom + 36}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
    return f"<figure>{escape(title)}{svg}</figure>"


def nice_ticks(low: float, high: float, count: int = 3) -> list[float]:
    """Round numbers from at most `low` to at least `high`.

    >>> nice_ticks(0.13, 0.87)
    [0.0, 0.5, 1.0]
    """
    span = max(high - low, abs(high) * 1e-3, 1e-9)
    unit = 10.0 ** math.floor(math.log10(span / count))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor * count >= span)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(step * k, 12) for k in range(first, max(last, first + 1) + 1)]


def smooth(values: np.ndarray) -> np.ndarray:
    """A running mean over about a twentieth of the curve, shorter at its ends."""
    reach = len(values) // 40
    sums = np.concatenate([[0.0], np.cumsum(values)])
    at = np.arange(len(values))
    first, last = np.maximum(at - reach, 0), np.minimum(at + reach + 1, len(values))
    return (sums[last] - sums[first]) / (last - first)


def _points(x: np.ndarray, y: np.ndarray) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
