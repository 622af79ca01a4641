"""The baselines that a trained phi has to beat must be what they claim to be."""

from __future__ import annotations

import torch

from downstream.backbones.features import LAB_SAMPLES, PhiFeatures, lab_features, untrained_phi
from mug.options import BackboneConfig


def test_lab_products_rank_patches_by_their_distance() -> None:
    frame = torch.rand(1, 3, 48, 61, generator=torch.Generator().manual_seed(0))
    features = lab_features(frame)[0]
    assert features.shape == (3 * LAB_SAMPLES**2 + 1, 6, 8)
    assert torch.allclose(features.square().sum(0), torch.ones(6, 8), atol=1e-5)
    flat = features.flatten(1).double()
    patches = flat[:-1] * 4  # back to Lab / 100, averaged over the patch
    distance = torch.cdist(patches.T, patches.T).square()
    assert torch.allclose(1 - flat.T @ flat, distance / 32, rtol=0.15, atol=1e-6)


def test_untrained_phi_is_the_same_each_time_and_neither_dead_nor_exploded() -> None:
    config = BackboneConfig(depth=18, stages=3, stride=8)
    frames = [torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(i)) for i in range(3)]
    state = torch.random.get_rng_state()
    first, second = (untrained_phi(config, frames, seed=4) for _ in range(2))
    assert torch.equal(state, torch.random.get_rng_state())
    assert not first.training
    with torch.no_grad():
        assert torch.equal(PhiFeatures(first)(frames[0]), PhiFeatures(second)(frames[0]))
        trunk = first(frames[0]).trunk
        assert not torch.equal(PhiFeatures(first)(frames[0]), PhiFeatures(untrained_phi(config, frames, 5))(frames[0]))
    assert 0.1 < float(trunk.std()) < 10
