"""AGNN as it is trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from agnn_head.model import AGNN
from agnn_head.options import AGNNConfig
from downstream.systems.agnn import AGNNFinetuneOptions
from downstream.systems.agnn.training import AGNNTraining, carry
from downstream.training.samples import overlap
from mug.checkpoint import save_weights
from mug.errors import InputError
from mug.model import MuG
from mug.options import BackboneConfig, EmbeddingConfig, ModelConfig
from tests.downstream.systems.learning import check_learns

BACKBONE = BackboneConfig(depth=18, stages=2, stride=8)


def trainable(**more: object) -> AGNNTraining:
    """A small model that begins at random."""
    model = AGNNConfig(EmbeddingConfig(backbone=BACKBONE, rates=(1, 2, 3)), channels=8, iterations=1)
    options = {"system": "agnn", "data": Path("data"), "out": Path("out"), "scratch": True, "model": model, **more}
    torch.manual_seed(0)
    return AGNNTraining(AGNNFinetuneOptions(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize("freeze", [True, False])
def test_batch_norm_of_the_trunk_is_frozen_on_request_only(freeze: bool, tmp_path: Path) -> None:
    save_weights(tmp_path / "phi.safetensors", MuG(ModelConfig(backbone=BACKBONE)).eval(), {})
    made = trainable(scratch=False, weights=tmp_path / "phi.safetensors", freeze_norm=freeze).train()
    assert made.network.embedding.trunk.phi.resnet.bn1.training is not freeze


def test_overlap_leaves_void_out_and_counts_empty_frames_as_right() -> None:
    logits = torch.tensor([[1.0, 1.0, -1.0, 1.0], [-1.0, -1.0, -1.0, -1.0]]).view(2, 1, 2, 2)
    target = torch.tensor([[1.0, 0.0, 1.0, torch.nan], [0.0, 0.0, 0.0, 0.0]]).view(2, 2, 2)
    assert overlap(logits[:, 0] > 0, target) == pytest.approx((1 / 3 + 1) / 2)


@pytest.mark.parametrize("graphs", [0, 1, 2])
def test_a_carried_state_has_come_through_graphs_of_its_own(graphs: int) -> None:
    torch.manual_seed(0)
    network = AGNN(AGNNConfig(EmbeddingConfig(backbone=BACKBONE, rates=(1, 2, 3)), channels=8, iterations=2)).eval()
    v = torch.rand(2, 3, 8, 4, 4, requires_grad=True)
    own = v[:, 0]
    for _ in range(graphs):
        own = network.propagate(torch.stack([v[:, 0], v[:, 1], v[:, 2]], 1), torch.stack([own, v[:, 1], v[:, 2]], 1))[
            :, 0
        ]
    carried = carry(network, v, graphs)
    assert torch.equal(carried[:, 0], own)
    assert carried.shape == (2, 1, 8, 4, 4)
    assert graphs == 0 or not carried.requires_grad


def test_what_is_carried_is_learned_from() -> None:
    """The first node's logits go on from its carried state; all nodes' embeddings still have a gradient."""
    trainee = trainable(graphs=1).eval()
    network = trainee.network
    frames = torch.randint(0, 255, (1, 3, 3, 32, 32), dtype=torch.uint8)
    masks = torch.randint(0, 2, (1, 3, 32, 32), dtype=torch.uint8)
    v = network.embed(frames[0].float() / 255)[None]
    once = network.propagate(v)
    again = network.propagate(v, torch.cat([once[:, :1], v[:, 1:]], 1))
    drawn = [int(np.random.default_rng([0, step, 0]).integers(2)) for step in range(9)]
    alone, out = (trainee({"frames": frames, "masks": masks}, False, drawn.index(graphs)) for graphs in (0, 1))
    torch.testing.assert_close(alone["logits"], network(frames.float() / 255)[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(out["logits"], network.read(again, v)[0], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(out["logits"], network(frames.float() / 255)[0], atol=1e-5)
    out["total"].backward()
    assert network.embedding.aspp.project[0].weight.grad.abs().sum() > 0


def test_it_learns() -> None:
    check_learns(trainable().train(), 12)


def test_the_trunk_is_that_of_the_weights_unless_the_options_say_which(tmp_path: Path) -> None:
    """Also those that come with the package, whatever they are."""
    backbone = BackboneConfig(depth=18, stages=2, stride=8, hypercolumn=True)
    save_weights(tmp_path / "phi.safetensors", MuG(ModelConfig(backbone=backbone)).eval(), {})
    open_ended = AGNNConfig(EmbeddingConfig(rates=(1, 2, 3)), channels=8, iterations=1)
    made = trainable(scratch=False, weights=tmp_path / "phi.safetensors", model=open_ended)
    assert made.network.embedding.trunk.phi.config == backbone
    assert open_ended.embedding.backbone is None  # a run that goes on compares what it was told
    assert trainable(model=open_ended).network.embedding.trunk.phi.config == BackboneConfig()
    trainable(scratch=False, weights=None, model=open_ended)
    with pytest.raises(InputError, match="stages"):
        trainable(
            scratch=False,
            weights=tmp_path / "phi.safetensors",
            model=AGNNConfig(EmbeddingConfig(backbone=BackboneConfig(stages=3))),
        )


def test_a_resnet_needs_its_weights() -> None:
    with pytest.raises(InputError, match="give torchvision's ResNet or DeepLabV3"):
        trainable(scratch=False, model=AGNNConfig(EmbeddingConfig(kind="resnet", depth=50), channels=8, iterations=1))
