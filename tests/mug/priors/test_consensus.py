"""Colour model, thresholds and chunks."""

from __future__ import annotations

import numpy as np
import pytest

from mug.priors.consensus import CHUNK, adaptive_level, bend, by_frame, chunks, colour_model, otsu, scale_top


def test_colour_model_overrules_single_mistakes():
    rng = np.random.default_rng(0)
    fore = np.arange(600) < 120
    lab = np.where(fore[:, None], (70, 40, 30), (40, -10, 0)) + rng.normal(0, 5, (600, 3))
    soft = np.where(fore, 0.9, 0.1)
    soft[:20], soft[120:160] = 0.1, 0.9  # mistaken
    model = colour_model(lab, soft)
    assert model[:120].min() > model[120:].max()


def test_colour_model_of_one_kind_only_says_nothing():
    assert (colour_model(np.zeros((5, 3)), np.full(5, 0.2)) == 1).all()
    assert (colour_model(np.zeros((5, 3)), np.full(5, 0.8)) == 1).all()


@pytest.mark.parametrize("level", [0.1, 0.35, 0.8])
def test_bend_brings_the_level_to_one_half_and_keeps_order(level):
    soft = np.linspace(0, 1, 101)
    bent = bend(soft, level)
    assert bend(np.array([level]), level)[0] == pytest.approx(0.5)
    assert (np.diff(bent) >= 0).all() and bent[0] == 0 and bent[-1] == 1


def test_otsu_parts_two_heaps():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0.2, 0.03, 900), rng.normal(0.7, 0.03, 100)])
    assert 0.26 < otsu(values) < 0.62
    assert adaptive_level(values) == pytest.approx(2 * values.mean())


def test_scale_top_bears_zeros():
    assert (scale_top(np.zeros(10)) == 0).all()


@pytest.mark.parametrize("length", [0, 1, CHUNK, CHUNK + 1, 7 * CHUNK // 2])
def test_chunks_hold_every_frame_once(length):
    parts = list(chunks(range(length)))
    assert [i for part in parts for i in part] == list(range(length))
    assert all(0 < len(part) <= CHUNK for part in parts)


def test_by_frame_undoes_concatenation():
    frames = [np.arange(3.0), np.arange(1.0), np.arange(4.0)]
    for got, frame in zip(by_frame(np.concatenate(frames), [3, 1, 4]), frames, strict=True):
        np.testing.assert_array_equal(got, frame)
