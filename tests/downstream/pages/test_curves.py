"""Charts, as the page holds them."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import numpy as np
import pytest

from downstream.pages.curves import POINTS, curve, dots, shares, smooth


def spec(figure: str) -> dict[str, Any]:
    """What the browser draws."""
    found = re.search(r'application/json">(.*?)</script>', figure, re.DOTALL)
    assert found
    content: dict[str, Any] = json.loads(found[1])
    return content


def test_curve_holds_raw_and_smoothed_values() -> None:
    figure = curve("loss", [0, 5, 10], [4.0, math.nan, 0.0], words="how <bad>", equation="L")
    drawn = spec(figure)
    assert drawn["x"] == [0, 10]
    assert [line["y"] for line in drawn["series"]] == [[4, 0], [4, 0]]
    assert "4 at first, 0 at last" in figure
    assert figure.index("how &lt;bad&gt;") < figure.index("<figcaption>L<")  # words before the equation


@pytest.mark.parametrize("values", [[1.0], [2.0, 2.0, 2.0], [math.nan, 1e-9], [-3.0, 1e6]])
def test_range_holds_awkward_values(values: list[float]) -> None:
    drawn = spec(curve("x", range(len(values)), values))
    low, high = drawn["range"]
    measured = [value for value in values if not math.isnan(value)]
    assert low < min(measured) <= max(measured) < high


def test_high_first_value_does_not_flatten_the_curve() -> None:
    values = [1e6, *np.linspace(2, 1, 999)]
    assert spec(curve("loss", range(1000), values))["range"][1] < 3


def test_long_curve_is_thinned_with_its_ends() -> None:
    count = 10 * POINTS
    drawn = spec(curve("loss", range(count), np.arange(count, dtype=float)))
    assert len(drawn["x"]) == POINTS
    assert drawn["x"][0] == 0
    assert drawn["x"][-1] == count - 1


def test_small_differences_keep_their_digits() -> None:
    assert spec(curve("T", [0, 1], [0.0700412, 0.0700538]))["series"][0]["y"] == [0.0700412, 0.0700538]


def test_curve_of_nothing_says_so() -> None:
    assert "nothing recorded" in curve("x", [0, 1], [math.nan] * 2)


def test_shares_keep_steps_on_which_they_were_measured() -> None:
    drawn = spec(shares("share", [0, 1, 2, 3], {"a": [0.25, math.nan, 0.5, math.nan], "b": [0.75, math.nan, 0.5, 1]}))
    assert drawn["x"] == [0, 2, 3]
    assert [(line["label"], line["y"]) for line in drawn["series"]] == [("a", [0.25, 0.5, None]), ("b", [0.75, 0.5, 1])]
    assert len({line["colour"] for line in drawn["series"]}) == 2
    assert drawn["range"][1] > 1


def test_dots_lie_inside_equal_axes() -> None:
    drawn = spec(dots("area", {"b": (0.5, 0.1), "a": (0.2, 0.8)}, "before", "after"))
    assert drawn["range"] == drawn["across_range"]
    assert drawn["range"][1] > 0.8
    assert drawn["names"][1:3] == ["a: 0.2", "b: 0.5"]
    assert drawn["series"][0]["y"] == [None, 0.8, 0.1, None]


def test_smoothing_is_a_mean_of_neighbours() -> None:
    values = np.random.default_rng(0).normal(size=200)
    reach = 5
    expected = [values[max(i - reach, 0) : i + reach + 1].mean() for i in range(200)]
    np.testing.assert_allclose(smooth(values), expected)
