"""Superpixels: their means and neighbours against plain loops."""

from __future__ import annotations

import numpy as np

from mug.priors.superpixels import Superpixels, shrink, superpixels


def test_pieces_are_numbered_without_gaps_and_follow_colour():
    rng = np.random.default_rng(0)
    frame = np.full((96, 128, 3), 40, np.uint8)
    frame[20:70, 30:90] = (200, 120, 30)
    frame = np.clip(frame + rng.normal(0, 3, frame.shape), 0, 255).astype(np.uint8)
    pieces = superpixels(frame, 60)
    assert sorted(np.unique(pieces.labels)) == list(range(pieces.count))
    assert 30 < pieces.count < 120
    inside = np.zeros((96, 128))
    inside[20:70, 30:90] = 1
    share = pieces.mean(inside)
    assert np.mean((share < 0.1) | (share > 0.9)) > 0.9


def test_means_neighbours_and_border_against_loops():
    rng = np.random.default_rng(1)
    coarse = np.array([[0, 0, 1, 2], [3, 4, 4, 2], [3, 5, 6, 6]])
    pieces = Superpixels(coarse.repeat(3, 0).repeat(5, 1).astype(np.int16), 7)
    values = rng.random((9, 20, 2))
    expected = np.stack([values[pieces.labels == i].mean(axis=0) for i in range(7)])
    np.testing.assert_allclose(pieces.mean(values), expected)
    np.testing.assert_allclose(pieces.mean(values[..., 0]), expected[:, 0])
    pairs = set()
    for y in range(3):
        for x in range(4):
            for v, u in ((y, x + 1), (y + 1, x)):
                if v < 3 and u < 4 and coarse[y, x] != coarse[v, u]:
                    pairs.add((min(coarse[y, x], coarse[v, u]), max(coarse[y, x], coarse[v, u])))
    assert {tuple(pair) for pair in pieces.edges()} == pairs
    assert pieces.border().tolist() == [0, 1, 2, 3, 5, 6]
    np.testing.assert_allclose(pieces.centres()[0], [0.25, 1 / 6])


def test_tiny_frames_are_one_piece():
    assert superpixels(np.zeros((6, 40, 3), np.uint8), 200).count == 1


def test_shrink_keeps_small_frames_and_the_shape():
    assert shrink(np.zeros((100, 300, 3), np.uint8), 240).shape == (100, 300, 3)
    assert shrink(np.zeros((480, 854, 3), np.uint8), 240).shape == (240, 427, 3)
