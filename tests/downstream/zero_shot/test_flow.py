"""Evidence travels along the flow, and only where flows agree."""

from __future__ import annotations

import numpy as np

from downstream.zero_shot.flow import Flow
from tests.downstream.zero_shot.drawn import noisy_video


def test_evidence_travels_along_the_flow():
    watched, truth = noisy_video(np.random.default_rng(1))
    evidence = np.zeros(truth.shape, np.float32)
    evidence[0][truth[0]] = 1.0
    carried = Flow(watched.ahead, watched.back).carry(evidence, fresh=0.2)
    for t in range(1, 5):
        assert carried[t][truth[t]].mean() > 5 * carried[t][~truth[t]].mean()


def test_carry_weighs_frames_as_it_says():
    """Without motion, frame s counts (1 - fresh)^|t - s| in frame t."""
    rng = np.random.default_rng(2)
    watched, _ = noisy_video(rng, frames=4)
    still = Flow(0 * watched.ahead, 0 * watched.back)
    maps = rng.random((4, 48, 72), dtype=np.float32)
    weight = 0.7 ** np.abs(np.subtract.outer(range(4), range(4)))
    expected = np.einsum("ts,shw->thw", weight / weight.sum(1, keepdims=True), maps)
    assert np.allclose(still.carry(maps, fresh=0.3), expected, atol=1e-5)


def test_nothing_is_carried_where_flows_disagree():
    rng = np.random.default_rng(5)
    watched, _ = noisy_video(rng, frames=4)
    torn = Flow(watched.ahead + 20, watched.back + 20)
    maps = rng.random((4, 48, 72), dtype=np.float32)
    assert np.allclose(torn.carry(maps, fresh=0.1), maps, atol=1e-4)
