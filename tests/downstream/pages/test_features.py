"""Features from which the page computes affinities."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from downstream.pages.features import DIMS, features, low_rank, open_matcher, quantised
from mug.frames import to_tensor
from mug.media.video import find_videos


def test_low_rank_is_the_best_of_its_rank() -> None:
    """Its error is that of the truncated eigendecomposition, also where M has negative eigenvalues."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 12, generator=generator, dtype=torch.float64)
    m = torch.randn(12, 12, generator=generator, dtype=torch.float64)
    scores = x @ (m + m.T) @ x.T
    y, signs = low_rank(x, m + m.T, 5)
    values = torch.linalg.eigvalsh(scores)
    dropped = values.abs().sort(descending=True).values[5:]
    assert {-1.0, 1.0} == set(signs.tolist())
    torch.testing.assert_close((scores - y * signs @ y.T).norm(), dropped.norm())


def test_eight_bits_keep_a_hundredth() -> None:
    x = torch.randn(100, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 100.0, 0.0])
    codes, scale = quantised(x)
    assert codes.dtype == np.int8
    assert np.abs(codes * scale - x.numpy()).max(0) == pytest.approx(scale / 2, rel=0.1, abs=1e-9)


def shares(data: dict[str, Any], query: int, cell: int, source: int) -> np.ndarray:
    """The affinity as the page computes it."""
    codes = [np.frombuffer(base64.b64decode(text), np.int8).reshape(-1, DIMS).astype(float) for text in data["codes"]]
    odds = np.exp(codes[source] @ (np.array(data["weights"]) * codes[query][cell]))
    result: np.ndarray = odds / odds.sum()
    return result


def test_affinity_of_the_page_is_that_of_the_packaged_features(moving_squares: Callable[..., Path]) -> None:
    video = find_videos(moving_squares(videos=1, frames=5, height=96, width=128))[0]
    matcher = open_matcher(None)
    data = features(video, range(5), matcher, 10**6)
    assert data is not None
    assert data["frames"] == [0, 1, 2, 3, 4]
    with torch.inference_mode():
        seen = [matcher.see(video[k])[0].double() for k in (0, 4)]
        exact = (seen[0] @ matcher.compare.double() @ seen[1].T).softmax(-1).numpy()
    shown = np.array([shares(data, 0, cell, 4) for cell in range(len(exact))])
    # half the sum of absolute differences: the share of the affinity that lies elsewhere
    assert np.median(np.abs(exact - shown).sum(1) / 2) < 0.1
    assert (exact.argmax(1) == shown.argmax(1)).mean() > 0.8
    grid = data["grid"]
    assert len(exact) == grid["rows"] * grid["columns"]
    assert grid["left"] + (grid["columns"] - 1) * grid["right"] < 1
    assert to_tensor(video[0]).shape[-1] == round(8 / grid["right"])


def test_features_keep_to_their_budget(moving_squares: Callable[..., Path]) -> None:
    video = find_videos(moving_squares(videos=1, frames=5, height=96, width=128))[0]
    matcher = open_matcher(None)
    each = DIMS * 12 * 16 * 4 // 3
    data = features(video, [0, 2, 3, 4], matcher, 3 * each)
    assert data is not None
    assert data["frames"] == [0, 3, 4]
    assert sum(map(len, data["codes"])) <= 3 * each
    assert features(video, range(5), matcher, each) is None
