"""Curves and scatter plots as SVG pictures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from markupsafe import Markup

from downstream.pages.html import part

WIDTH, HEIGHT = 320, 170
RIGHT, TOP, BOTTOM = 10, 10, 24
LETTER = 6.5
"""Width in pixels of a digit of the labels."""


def charts(figures: Iterable[Markup]) -> Markup:
    """Charts side by side, as many as fit the width of the screen."""
    return part("charts", figures)


def curve(title: str, x: Sequence[float], y: Sequence[float], marks: Sequence[float] = ()) -> Markup:
    """A curve over steps: raw values, faint, and a smoothed line.

    Args:
        title: Title of the figure.
        x: Steps, increasing.
        y: One value per step; non-finite values are left out.
        marks: Steps marked by a dashed vertical line.

    Returns:
        A figure with an SVG picture.
    """
    steps, values = np.asarray(x, float), np.asarray(y, float)
    kept = np.isfinite(values)
    steps, values = steps[kept], values[kept]
    if not len(values):
        return part("nothing", title)
    # a very high value at the first step must not flatten the rest of the curve
    low, high = np.quantile(values, (0.0, 0.99))
    low, high = min(low, values[-1]), max(high, values[-1])
    ticks = nice_ticks(float(low), float(high))
    low, high = min(low, ticks[0]), max(high, ticks[-1])
    margin = left_margin(ticks)
    left, right = (steps[0], steps[-1]) if len(steps) > 1 else (steps[0] - 1, steps[0] + 1)

    def across(step: float) -> float:
        return float(margin + (step - left) / (right - left) * (WIDTH - margin - RIGHT))

    def up(value: float) -> float:
        share = min(max((value - low) / (high - low), 0), 1)
        return float(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM))

    ends = (steps[0], "start", margin), (steps[-1], "end", WIDTH - RIGHT)
    words = [(margin - 6.0, up(tick) + 4, "end", f"{tick:g}") for tick in ticks]
    words += [(at, HEIGHT - 7.0, anchor, f"step {step:g}") for step, anchor, at in ends]
    lines = {"raw": values, "line": smooth(values)}
    return part(
        "chart",
        title,
        f"{title}: {values[0]:.3g} at first, {values[-1]:.3g} at last",
        WIDTH,
        HEIGHT,
        [(margin, up(tick), WIDTH - RIGHT, up(tick)) for tick in ticks],
        [(across(mark), TOP, across(mark), HEIGHT - BOTTOM) for mark in marks],
        words,
        [(style, [*zip(map(across, steps), map(up, line), strict=True)]) for style, line in lines.items()],
        [],
    )


def dots(title: str, points: Mapping[str, tuple[float, float]], across: str, up: str) -> Markup:
    """A scatter plot on two equal axes from 0, with the diagonal dashed.

    Args:
        title: Title of the figure.
        points: (x, y), at least 0, by the name shown on hover.
        across: Label of the x axis.
        up: Label of the y axis.

    Returns:
        A figure with an SVG picture.
    """
    ticks = nice_ticks(0.0, max((value for point in points.values() for value in point), default=1.0))
    margin = left_margin(ticks)
    side = WIDTH - margin - RIGHT
    bottom = TOP + side

    def place(x: float, y: float) -> tuple[float, float]:
        return margin + x / ticks[-1] * side, bottom - y / ticks[-1] * side

    words: list[tuple[float, float, str, str]] = []
    for tick in ticks:
        x, y = place(tick, tick)
        words += [(margin - 6, y + 4, "end", f"{tick:g}"), (x, bottom + 14, "middle", f"{tick:g}")]
    words += [(margin + side / 2, bottom + 30, "middle", across), (margin + 6, TOP + 12, "start", up)]
    return part(
        "chart",
        title,
        f"{title}: {up} against {across}, {len(points)} dots",
        WIDTH,
        bottom + 36,
        [(margin, place(0, tick)[1], WIDTH - RIGHT, place(0, tick)[1]) for tick in ticks],
        [(margin, bottom, WIDTH - RIGHT, TOP)],
        words,
        [],
        [(*place(*point), f"{name}: {point[0]:.3g}, {point[1]:.3g}") for name, point in points.items()],
    )


def left_margin(ticks: Sequence[float]) -> float:
    """Pixels that the labels of the y axis need."""
    return 12 + LETTER * max(len(f"{tick:g}") for tick in ticks)


def nice_ticks(low: float, high: float, count: int = 3) -> list[float]:
    """Round tick values from at most `low` to at least `high`.

    >>> nice_ticks(0.13, 0.87)
    [0.0, 0.5, 1.0]
    """
    span = max(high - low, abs(high) * 1e-3, 1e-9)
    unit = 10.0 ** math.floor(math.log10(span / count))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor * count >= span)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(step * k, 12) for k in range(first, max(last, first + 1) + 1)]


def smooth(values: np.ndarray) -> np.ndarray:
    """Running mean over about a twentieth of the curve; the window is shorter at its ends."""
    reach = len(values) // 40
    sums = np.concatenate([[0.0], np.cumsum(values)])
    at = np.arange(len(values))
    first, last = np.maximum(at - reach, 0), np.minimum(at + reach + 1, len(values))
    return (sums[last] - sums[first]) / (last - first)
