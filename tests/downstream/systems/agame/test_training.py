"""A-GAME as it is trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from downstream.systems.agame import AGAMEFinetuneOptions
from downstream.systems.agame.training import AGAMETraining, choose, cross_entropy, targets
from downstream.training.options import Clip, SampleOptions
from mug.checkpoint import save_weights
from mug.command.options import parse
from mug.errors import InputError
from mug.model import MuG
from mug.options import BackboneConfig, ModelConfig, TrunkConfig
from tests.downstream.systems.agame.small import SMALL

REQUIRED = {"system": "agame", "data": Path("data"), "out": Path("out")}


def trainable(**changes: Any) -> AGAMETraining:
    """A small network that begins at random."""
    torch.manual_seed(0)
    return AGAMETraining(AGAMEFinetuneOptions(**{**REQUIRED, "scratch": True, "model": SMALL, **changes}))


@pytest.fixture(scope="module")
def phi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "phi.safetensors"
    torch.manual_seed(0)
    save_weights(path, MuG(ModelConfig(backbone=BackboneConfig(depth=18, stages=2, stride=8))).eval(), {})
    return path


def moving() -> tuple[Tensor, Tensor]:
    """Frames and masks of two videos: a bright and a dark square, that move, on noise, and void beside them."""
    rng = np.random.default_rng(0)
    frames = torch.from_numpy(rng.integers(60, 120, (2, 3, 3, 64, 64), dtype=np.uint8))
    masks = torch.zeros(2, 3, 64, 64, dtype=torch.uint8)
    for t in range(3):
        for i, (top, level) in enumerate(((8, 220), (36, 10)), 1):
            place = (..., slice(top, top + 20), slice(8 + 8 * t, 28 + 8 * t))
            masks[:, t][place], frames[:, t][place] = i, level
    masks[..., 60:] = 255
    return frames, masks


def test_it_learns() -> None:
    trainee = trainable(objects=2).train()
    frames, masks = moving()
    optimiser = torch.optim.AdamW(trainee.parameters(), 3e-3)
    losses, overlaps = [], []
    for step in range(40):
        out = trainee({"frames": frames, "masks": masks}, False, step)
        optimiser.zero_grad()
        out["total"].backward()
        optimiser.step()
        losses.append(out["total"].item())
        overlaps.append(out["iou"].item())
    assert losses[-1] < 0.35 * losses[0]
    assert overlaps[-1] > 0.5 > overlaps[0]


def test_the_loss_is_the_cross_entropy_of_both_masks_over_labelled_pixels() -> None:
    trainee = trainable(objects=2, auxiliary=0.3).eval().double()
    frames, masks = moving()
    out = trainee({"frames": frames, "masks": masks}, False, 0)
    truth = torch.stack([masks[b] == i for b in (0, 1) for i in (1, 2)]).double()
    coarse, final = trainee.network(frames.double() / 255, truth[:, :1], [2, 2])
    known = (masks[0, 0] != 255).expand(4, 2, 64, 64)
    terms = []
    for logits in (final, coarse):
        p = F.interpolate(logits, (64, 64), mode="bilinear").sigmoid()
        right = torch.where(truth[:, 1:] == 1, p, 1 - p)
        terms.append(-right[known].log().mean())
    torch.testing.assert_close(out["total"].double(), terms[0] + 0.3 * terms[1], rtol=1e-4, atol=0)


def test_void_has_no_loss_and_no_gradient() -> None:
    logits = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    truth = torch.randint(0, 2, (2, 3, 4, 4)).double()
    truth[0, 0] = torch.nan
    cross_entropy(logits, truth).backward()
    assert logits.grad is not None and not logits.grad[0, 0].any() and logits.grad[0, 1].all()
    assert cross_entropy(logits[:1, :1], truth[:1, :1]).item() == 0


def test_given_masks_leave_void_out() -> None:
    _, masks = moving()
    truth = targets(masks, [[2], []])
    assert truth.shape == (1, 3, 64, 64)
    assert torch.equal(truth[0].isnan(), masks[0] == 255)
    assert torch.equal(truth[0] == 1, masks[0] == 2)
    assert not truth[0][masks[0] == 1].any()  # to an object, the others are background


def test_some_objects_of_the_first_frame_are_chosen() -> None:
    mask = torch.tensor([[0, 3, 7], [9, 255, 3]], dtype=torch.uint8)
    assert choose(mask, 3, np.random.default_rng(0)) == [3, 7, 9]
    drawn = [choose(mask, 1, np.random.default_rng(seed)) for seed in range(30)]
    assert {ids[0] for ids in drawn} == {3, 7, 9} and all(len(ids) == 1 for ids in drawn)
    assert all(len(set(choose(mask, 2, np.random.default_rng(seed)))) == 2 for seed in range(9))
    assert choose(torch.full((2, 2), 255, dtype=torch.uint8), 2, np.random.default_rng(0)) == []


def test_the_step_alone_decides_which_objects() -> None:
    trainee, (frames, masks) = trainable(objects=1).eval(), moving()
    values = [trainee({"frames": frames, "masks": masks}, False, step)["total"].item() for step in (*range(6), 3)]
    assert len(set(values)) > 1
    assert values[3] == values[-1]


@pytest.mark.parametrize("empty", ["one", "all"])
def test_a_clip_without_an_object_has_no_loss(empty: str) -> None:
    trainee, (frames, masks) = trainable(objects=2).eval(), moving()
    alone = trainee({"frames": frames[1:], "masks": masks[1:]}, False, 0)
    masks[0 if empty == "one" else slice(None), 0] = 0
    out = trainee({"frames": frames, "masks": masks}, False, 0)
    assert out["logits"].shape[0] == 6
    out["total"].backward()
    if empty == "one":
        torch.testing.assert_close(out["total"], alone["total"])
        assert not (out["logits"][:3] > 0).any()
    else:
        assert float(out["total"]) == 0 and float(out["iou"]) == 1


def test_every_parameter_that_is_trained_has_a_gradient() -> None:
    """Also those that a step does not use: other processes wait for them."""
    trainee, (frames, masks) = trainable(auxiliary=0.0).train(), moving()
    masks[:, 0] = 0
    trainee({"frames": frames, "masks": masks}, False, 0)["total"].backward()
    assert all(p.grad is not None for p in trainee.parameters() if p.requires_grad)


@pytest.mark.parametrize("tune", ["last", "all"])
@pytest.mark.parametrize("freeze", [True, False])
def test_the_trunk_is_frozen_up_to_its_last_group(phi: Path, tune: str, freeze: bool) -> None:
    trainee = trainable(scratch=False, weights=phi, tune=tune, freeze_norm=freeze).train()
    net = trainee.network.trunk.phi.resnet
    assert net.layer2[0].conv1.weight.requires_grad
    assert net.layer1[0].conv1.weight.requires_grad is (tune == "all")
    assert net.conv1.weight.requires_grad is (tune == "all")
    assert net.layer2[0].bn1.training is net.layer2[0].bn1.weight.requires_grad is (not freeze)
    assert net.bn1.training is net.bn1.weight.requires_grad is (tune == "all" and not freeze)


def test_samples_are_successive_frames_with_their_objects() -> None:
    assert trainable(gap=3).clip == Clip("successive", 3, objects=True)


def test_settings_are_as_released_by_default() -> None:
    options = AGAMEFinetuneOptions(**REQUIRED)
    model = options.model
    assert (model.channels, model.width, model.fine, model.update_rate) == (512, 512, 128, 0.1)
    assert model.appearance and model.propagation and model.reference and model.mixture and model.end_to_end
    assert (model.scores, model.trunk.stride, options.tune, options.auxiliary) == ("log", 16, "last", 1.0)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"gap": 0}, "gap: 0 is too few"),
        ({"objects": 0}, "objects: 0 is too few"),
        ({"auxiliary": -1.0}, "auxiliary: -1.0 is negative"),
        ({"sample": SampleOptions(nodes=1)}, "sample.nodes: 1 leaves no frame"),
        ({"trunk_rate": -1.0}, "trunk_rate: -1.0"),
        ({"model": replace(SMALL, channels=0)}, "model.channels: 0"),
        ({"model": replace(SMALL, trunk=TrunkConfig("resnet", depth=50, stride=16)), "scratch": False}, "--weights"),
    ],
)
def test_options_out_of_range(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        trainable(**changes)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--no-model.appearance", "--model.scores", "softmax"), "appearance model, which is off"),
        (("--no-model.appearance", "--model.update_rate", "0"), "appearance model, which is off"),
        (("--no-model.propagation", "--no-model.reference"), "mask propagation, which is off"),
        (("--trunk_rate", "0", "--tune", "all"), "trains none of the trunk"),
        (("--scratch", "--tune", "last"), "is trained as a whole"),
    ],
)
def test_options_without_effect_are_refused(words: tuple[str, ...], reason: str) -> None:
    with pytest.raises(InputError, match=f"has no effect here: .*{reason}"):
        parse("mug finetune", AGAMEFinetuneOptions, ("system",), ("agame", "--data", "data", "--out", "out", *words))
