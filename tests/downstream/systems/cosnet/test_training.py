"""COSNet as it is trained."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from agnn_head.calibration import raised_odds
from agnn_head.loss import weighted_bce
from downstream.systems.cosnet import COSNetConfig, COSNetFinetuneOptions
from downstream.systems.cosnet.network import FORMAT
from downstream.systems.cosnet.training import COSNetTraining
from downstream.training.annotated import foreground_shares, open_annotated
from downstream.training.options import SampleOptions
from downstream.training.samples import grid_target
from mug.errors import InputError
from tests.downstream.systems.cosnet.made import TRUNK, small
from tests.downstream.systems.learning import check_learns


def trainable(attention: str = "symmetric", **more: object) -> COSNetTraining:
    """A small network that begins at random."""
    model = COSNetConfig(TRUNK, channels=8, attention=attention)  # type: ignore[arg-type]
    options = {"system": "cosnet", "data": Path("data"), "out": Path("out"), "scratch": True, "model": model, **more}
    torch.manual_seed(0)
    return COSNetTraining(COSNetFinetuneOptions(**options))  # type: ignore[arg-type]


def batch() -> dict[str, torch.Tensor]:
    """Two pairs."""
    generator = torch.Generator().manual_seed(1)
    frames = torch.randint(0, 256, (2, 2, 3, 32, 32), generator=generator, dtype=torch.uint8)
    masks = torch.randint(0, 2, (2, 2, 32, 32), generator=generator, dtype=torch.uint8)
    masks[0, 1, :8] = 255
    return {"frames": frames, "masks": masks}


def test_both_frames_of_a_pair_count() -> None:
    trainee = trainable().eval()
    given = batch()
    out = trainee(given, False, 0)
    logits = trainee.network(given["frames"].float() / 255).flatten(0, 1)
    target = grid_target(given["masks"].flatten(0, 1), (4, 4))
    assert out["total"].item() == pytest.approx(weighted_bce(logits, target).item())
    torch.testing.assert_close(out["logits"], logits.detach())
    for frame in range(2):
        other = {"frames": given["frames"], "masks": given["masks"].clone()}
        other["masks"][1, frame] = 1 - other["masks"][1, frame]
        assert trainee(other, False, 0)["total"].item() != pytest.approx(out["total"].item())


def test_stills_train_the_embedding_and_its_own_convolution_alone() -> None:
    trainee = trainable().train()
    given = batch()
    out = trainee(given, True, 0)
    out["total"].backward()
    taught = {name.split(".")[1] for name, p in trainee.named_parameters() if p.grad is not None and p.grad.any()}
    assert taught == {"embedding", "intermediate"}
    assert all(p.grad is not None for p in trainee.parameters() if p.requires_grad)  # other processes wait for them
    trainee.zero_grad()
    trainee(given, False, 1)["total"].backward()
    taught = {name.split(".")[1] for name, p in trainee.named_parameters() if p.grad is not None and p.grad.any()}
    assert taught == {"embedding", "co_attention", "head"}


@pytest.mark.parametrize("attention", ["symmetric", "none"])
def test_it_learns(attention: str) -> None:
    check_learns(trainable(attention).train(), 20)


def test_what_only_the_other_frame_tells_is_learned_through_co_attention() -> None:
    """The first frame always looks the same; whether all of it is the object, the second frame tells."""

    def accuracy(attention: str) -> float:
        network = trainable(attention).network.train()
        generator = torch.Generator().manual_seed(2)
        optimiser = torch.optim.AdamW(network.parameters(), 1e-2)
        v_bnchw = torch.ones(8, 2, 8, 4, 4)
        right = 0.0
        for step in range(60):
            there = (torch.rand(8, generator=generator) < 0.5).float()
            v_bnchw[:, 1, :4] = there.view(8, 1, 1, 1)
            logits = network.compare(v_bnchw)[:, 0]
            optimiser.zero_grad()
            weighted_bce(logits, there.view(8, 1, 1).expand(8, 4, 4)).backward()
            optimiser.step()
            if step >= 50:
                right += float(((logits[:, 0] > 0) == (there > 0).view(8, 1, 1)).float().mean()) / 10
        return right

    assert accuracy("symmetric") > 0.95
    assert accuracy("none") < 0.8


def test_pairs_are_any_two_frames() -> None:
    assert trainable().clip.choose == "any"
    assert COSNetFinetuneOptions(system="cosnet", data=Path("x"), out=Path("y")).sample.nodes == 2


@pytest.mark.parametrize("nodes", [1, 3])
def test_other_numbers_of_frames_are_refused(nodes: int) -> None:
    with pytest.raises(InputError, match=f"sample.nodes: {nodes} frames are no pair; COSNet learns from 2"):
        trainable(sample=SampleOptions(nodes=nodes))
    trainable("none", sample=SampleOptions(nodes=nodes))


@pytest.mark.parametrize("name", ["head_rate", "trunk_rate"])
def test_a_negative_rate_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"{name}: -1"):
        trainable(**{name: -1})


def test_rates_of_the_parts() -> None:
    assert trainable(trunk_rate=0.01, head_rate=10.0).rates == {
        "network.embedding.trunk.": 0.01,
        "network.embedding.": 1.0,
        "network.": 10.0,
    }


@pytest.mark.parametrize("attention", ["symmetric", "none"])
def test_the_odds_of_foreground_are_corrected_on_request(attention: str, moving_squares, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    sources = open_annotated(moving_squares(videos=2, frames=3))
    trainee = trainable(attention).eval()
    frames = torch.rand(1, 2, 3, 32, 32)
    before = trainee.network(frames)
    network, metadata = trainee.finish(sources)
    assert metadata == {"calibrated": "true"}
    torch.testing.assert_close(network(frames) + math.log(raised_odds(foreground_shares(sources))), before)
    torch.testing.assert_close(trainee.network(frames), before)
    plain = trainable(attention, calibrate=False).eval()
    assert plain.finish(sources) == (plain.network, {})


def test_a_later_stage_keeps_the_architecture_of_the_earlier_one(tmp_path: Path) -> None:
    FORMAT.save(tmp_path / "cosnet.safetensors", small("channel-wise", layers=1), {})
    begun = trainable("vanilla", scratch=False, start=tmp_path / "cosnet.safetensors")
    assert (begun.network.config.attention, begun.network.config.layers) == ("channel-wise", 1)
