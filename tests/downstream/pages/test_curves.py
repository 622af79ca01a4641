"""Charts."""

from __future__ import annotations

import re

import numpy as np

from downstream.pages.curves import LETTER, curve, dots


def test_labels_of_the_axis_are_not_cut() -> None:
    """They end at their x and are as long as their letters."""
    values = np.linspace(0.07004, 0.07006, 9)
    for figure in (curve("loss", range(9), values), dots("J", {"a": (0.07, 0.06)}, "x", "y")):
        labels = re.findall(r'<text x="([\d.]+)"[^>]*text-anchor="end"[^>]*>([-\d.e]+)<', str(figure))
        assert any(len(text) >= 4 for _, text in labels)
        assert all(float(x) >= LETTER * len(text) for x, text in labels)
