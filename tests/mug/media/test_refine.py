"""Refinement against a synthetic disc, and every map it must refuse."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from mug.errors import InputError
from mug.media.refine import CRF_PRESETS, refine, require_crf

SIZE = (240, 320)


def _disc() -> tuple[np.ndarray, np.ndarray]:
    """A bright disc on a dark ground, and its mask."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    mask = (x - 160) ** 2 + (y - 120) ** 2 < 72**2
    frame = np.where(mask[..., None], (220, 180, 40), (20, 60, 90)).astype(np.uint8)
    return frame, mask


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def _have_crf() -> bool:
    try:
        require_crf()
    except InputError:
        return False
    return True


KINDS = ["guided", pytest.param("crf", marks=pytest.mark.skipif(not _have_crf(), reason="extra crf not installed"))]


@pytest.mark.parametrize("kind", KINDS)
def test_borders_move_onto_edges(kind):
    """A map on a grid of 8 px, as phi's is, loses the disc's border; the frame gives it back."""
    frame, mask = _disc()
    blocks = mask.reshape(SIZE[0] // 8, 8, SIZE[1] // 8, 8).mean((1, 3)).astype(np.float32)
    coarse = np.kron(blocks, np.ones((8, 8), np.float32))
    refined = refine(frame, coarse, kind)
    assert (refined.shape, refined.dtype) == (SIZE, np.float32)
    assert _iou(refined > 0.5, mask) > _iou(coarse > 0.5, mask) + 0.02


@pytest.mark.parametrize("kind", ["none", *KINDS])
@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
def test_constant_maps_stay_finite(kind, level):
    frame, _ = _disc()
    refined = refine(frame, np.full(SIZE, level), kind)
    assert ((refined >= 0) & (refined <= 1)).all()
    assert ((refined > 0.5) == (level > 0.5)).all()


def test_none_changes_nothing():
    frame, _ = _disc()
    map_hw = np.random.default_rng(0).random(SIZE, dtype=np.float32)
    assert (refine(frame, map_hw, "none") == map_hw).all()


@pytest.mark.parametrize(
    ("frame", "probability", "kind", "says"),
    [
        (np.zeros((*SIZE, 3), np.uint16), np.zeros(SIZE), "guided", "8-bit"),
        (np.zeros((*SIZE, 4), np.uint8), np.zeros(SIZE), "guided", "RGB"),
        (np.zeros((*SIZE, 3), np.uint8), np.zeros((240, 321)), "guided", "resize"),
        (np.zeros((*SIZE, 3), np.uint8), np.zeros(SIZE, np.uint8), "guided", "floating point"),
        (np.zeros((*SIZE, 3), np.uint8), np.full(SIZE, np.nan), "guided", "finite"),
        (np.zeros((*SIZE, 3), np.uint8), np.full(SIZE, 1.5), "none", r"\[0, 1\]"),
        (np.zeros((*SIZE, 3), np.uint8), np.zeros(SIZE), "blur", "no such refinement"),
    ],
)
def test_bad_input_is_named(frame, probability, kind, says):
    with pytest.raises(InputError, match=says):
        refine(frame, probability, kind)


def test_missing_crf_names_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", None)
    with pytest.raises(InputError, match=r'pip install "mug-vos\[crf\]"'):
        refine(np.zeros((*SIZE, 3), np.uint8), np.zeros(SIZE), "crf")


@pytest.mark.skipif(not _have_crf(), reason="extra crf not installed")
def test_unknown_crf_preset_is_named():
    assert "agnn" in CRF_PRESETS
    with pytest.raises(InputError, match="agnn"):
        refine(np.zeros((*SIZE, 3), np.uint8), np.zeros(SIZE), "crf", crf="best")
