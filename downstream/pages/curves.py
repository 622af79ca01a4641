"""Charts of a page: curves over steps, several curves in one, and scatter plots. uPlot draws them in the browser."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from markupsafe import Markup

from downstream.pages.html import part

POINTS = 1200
"""Maximum number of points of a curve; longer ones are thinned."""
COLOURS = ("--blue", "--orange", "--teal", "--violet", "--rose", "--olive", "--soft")
"""Colours of curves in one chart, as defined in `templates/style.css`."""


def charts(figures: Iterable[Markup]) -> Markup:
    """Charts side by side, as many as fit the width of the screen."""
    return part("charts", figures)


def curve(
    title: str, x: Sequence[float], y: Sequence[float], marks: Sequence[float] = (), words: str = "", equation: str = ""
) -> Markup:
    """A curve over steps: raw values, faint, and a smoothed line.

    Args:
        title: Title of the figure.
        x: Steps, increasing.
        y: One value per step; non-finite values are left out.
        marks: Steps marked by a dashed vertical line.
        words: What the curve shows, below the title.
        equation: The same as an equation, below the curve.

    Returns:
        A figure.
    """
    steps, values = finite(x, y)
    if not len(values):
        return part("nothing", title)
    # a very high value at the first step must not flatten the rest of the curve
    low, high = np.quantile(values, (0.0, 0.99))
    low, high = min(low, values[-1]), max(high, values[-1])
    kept = thinned(len(values))
    lines = [
        {"label": "value", "y": _plain(values[kept]), "colour": "--blue", "width": 1, "alpha": 0.3},
        {"label": "smoothed", "y": _plain(smooth(values)[kept]), "colour": "--blue"},
    ]
    spec = {
        "x": _plain(steps[kept]),
        "across": "step",
        "whole": True,
        "series": lines,
        "marks": list(marks),
        "range": padded(float(low), float(high)),
    }
    return part("chart", title, f"{title}: {values[0]:.3g} at first, {values[-1]:.3g} at last", spec, words, equation)


def shares(title: str, x: Sequence[float], named: Mapping[str, Sequence[float]], words: str = "") -> Markup:
    """Several curves over steps in one chart, from 0 upwards; steps without a value in any of them are left out.

    Args:
        title: Title of the figure.
        x: Steps, increasing.
        named: One value per step, by the name in the legend.
        words: What the curves show, below the title.
    """
    steps, values = np.asarray(x, float), np.array([*named.values()], float)
    kept = np.flatnonzero(np.isfinite(values).any(axis=0))
    if not len(kept):
        return part("nothing", title)
    kept = kept[thinned(len(kept))]
    lines = [
        {"label": name, "y": _plain(line[kept]), "colour": colour, "marked": len(kept) < 30}  # one value has no line
        for name, line, colour in zip(named, values, _cycle(len(named)), strict=True)
    ]
    last = ", ".join(f"{name} {line[kept][-1]:.2g}" for name, line in zip(named, values, strict=True))
    highest = float(np.nanmax(values[:, kept]))
    spec = {
        "x": _plain(steps[kept]),
        "across": "step",
        "whole": True,
        "series": lines,
        "range": [0, 1.05 * highest or 1],
    }
    return part("chart", title, f"{title}, at last: {last}", spec, words, "")


def dots(title: str, points: Mapping[str, tuple[float, float]], across: str, up: str) -> Markup:
    """A scatter plot on two equal axes from 0, with the diagonal dashed.

    Args:
        title: Title of the figure.
        points: (x, y), at least 0, by the name shown for the point under the cursor.
        across: Label of the x axis.
        up: Label of the points.

    Returns:
        A figure.
    """
    ordered = sorted(points.items(), key=lambda item: item[1])
    most = max((value for point in points.values() for value in point), default=1.0)
    # the diagonal reaches from corner to corner, also where there is no point
    x = np.array([0.0, *(point[0] for _, point in ordered), 1.05 * most or 1.0])
    y = np.array([math.nan, *(point[1] for _, point in ordered), math.nan])
    end = float(x[-1])
    spec = {
        "x": _plain(x),
        "across": across,
        "across_title": across,
        "across_range": [0, end],
        "range": [0, end],
        "height": 320,
        "names": ["", *(f"{name}: {point[0]:.3g}" for name, point in ordered), ""],
        "series": [
            {"label": up, "y": _plain(y), "colour": "--blue", "dots": True},
            {"label": "as before", "y": _plain(x), "colour": "--soft", "width": 1, "dash": [4, 4]},
        ],
    }
    return part("chart", title, f"{title}: {up} against {across}, {len(points)} dots", spec, "", "")


def finite(x: Sequence[float], y: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """The steps that have a finite value, and these values."""
    steps, values = np.asarray(x, float), np.asarray(y, float)
    kept = np.isfinite(values)
    return steps[kept], values[kept]


def thinned(count: int) -> np.ndarray:
    """Indices of at most `POINTS` of `count` values, evenly spread, with the first and the last."""
    return np.unique(np.linspace(0, count - 1, min(count, POINTS)).round().astype(int))


def padded(low: float, high: float) -> list[float]:
    """A range that leaves 5 % free above and below."""
    room = 0.05 * max(high - low, abs(high) * 1e-3, 1e-9)
    return [low - room, high + room]


def smooth(values: np.ndarray) -> np.ndarray:
    """Running mean over about a twentieth of the curve; the window is shorter at its ends."""
    reach = len(values) // 40
    sums = np.concatenate([[0.0], np.cumsum(values)])
    at = np.arange(len(values))
    first, last = np.maximum(at - reach, 0), np.minimum(at + reach + 1, len(values))
    return (sums[last] - sums[first]) / (last - first)


def _plain(values: np.ndarray) -> list[float | None]:
    """Numbers as JSON has them: seven digits, None for one that was not measured."""
    return [float(f"{value:.7g}") if math.isfinite(value) else None for value in values]


def _cycle(count: int) -> list[str]:
    return [COLOURS[k % len(COLOURS)] for k in range(count)]
