"""HCPN as it is trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from downstream.systems.hcpn import HCPNFinetuneOptions
from downstream.systems.hcpn.options import HCPNConfig
from downstream.systems.hcpn.training import HCPNTraining
from downstream.training.options import SampleOptions
from mug.errors import InputError
from mug.options import BackboneConfig, TrunkConfig
from mug.run.optimise import build_optimiser
from mug.run.options import OptimiserOptions

SMALL = HCPNConfig(
    trunk=TrunkConfig(backbone=BackboneConfig(depth=18, stages=2, stride=8)), channels=8, rates=(1, 2, 3), stacks=1
)


def trainable(model: HCPNConfig = SMALL, **more: object) -> HCPNTraining:
    options = {"system": "hcpn", "data": Path("data"), "out": Path("out"), "scratch": True, "model": model, **more}
    torch.manual_seed(0)
    return HCPNTraining(HCPNFinetuneOptions(**options))  # type: ignore[arg-type]


def squares(count: int = 4) -> dict[str, torch.Tensor]:
    """Textured squares that move to the right, before a texture that does not."""
    rng = np.random.default_rng(0)
    frames = rng.integers(60, 140, (count, 1, 3, 32, 32), np.uint8).repeat(2, 1)
    masks = np.zeros((count, 2, 32, 32), np.uint8)
    flow = np.full((count, 1, 3, 32, 32), 255, np.uint8)
    for i in range(count):
        y, x = rng.integers(0, 18, 2)
        for t in range(2):
            masks[i, t, y : y + 12, x + 2 * t : x + 2 * t + 12] = 1
            frames[i, t, :, y : y + 12, x + 2 * t : x + 2 * t + 12] += 90
        flow[i, 0, 1:, y : y + 12, x : x + 12] = 0
    return {"frames": torch.from_numpy(frames), "masks": torch.from_numpy(masks), "flow": torch.from_numpy(flow)}


def test_it_learns() -> None:
    made, batch = trainable().train(), squares()
    optimiser = torch.optim.AdamW(made.parameters(), 3e-3)
    losses = []
    for step in range(25):
        out = made(batch, False, step)
        losses.append(float(out["total"].detach()))
        optimiser.zero_grad()
        out["total"].backward()
        optimiser.step()
    assert losses[-1] < 0.5 * losses[0]
    assert out["iou"] > 0.7


@pytest.mark.parametrize(
    ("more", "frames", "sees"),
    [({}, 2, True), ({"streams": 2}, 1, True), ({"input": "frames"}, 2, False), ({"mcr": False}, 2, True)],
)
def test_variants_train_on_what_they_segment(more: dict[str, object], frames: int, sees: bool) -> None:
    made, batch = trainable(replace(SMALL, **more)).train(), squares(2)  # type: ignore[arg-type]
    assert made.clip.flow is sees
    if not sees:
        del batch["flow"]
        assert made.prepare([], Path("nowhere")) is None
    out = made(batch, False, 0)
    assert out["logits"].shape[:2] == (2 * frames, 1)
    out["total"].backward()
    assert all(p.grad is not None for p in made.parameters() if p.requires_grad)


def test_contours_weigh_as_the_option_says() -> None:
    batch = squares(2)
    with torch.no_grad():
        totals = [float(trainable(contour_weight=w).eval()(batch, False, 0)["total"]) for w in (0.0, 1.0, 2.0)]
    assert totals[1] > totals[0]
    assert totals[2] - totals[1] == pytest.approx(totals[1] - totals[0], rel=1e-4)


def test_parts_learn_at_their_own_rates() -> None:
    made = trainable(trunk_rate=0.5, stage_rate=2.0, head_rate=20.0)
    scales = {}
    for group in build_optimiser(made, OptimiserOptions(), made.rates).param_groups:
        scales |= {id(p): group["scale"] for p in group["params"]}
    found = {name: scales[id(p)] for name, p in made.named_parameters() if p.requires_grad}
    for name, scale in found.items():
        part = name.split(".")[1]
        assert scale == {"trunks": 0.5, "decoder": 20.0}.get(part, 2.0), name


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"head_rate": -1.0}, "head_rate: -1"),
        ({"stage_rate": -1.0}, "stage_rate: -1"),
        ({"contour_weight": -1.0}, "contour_weight: -1"),
        ({"sample": SampleOptions(nodes=3)}, "sample.nodes: 3"),
    ],
)
def test_settings_out_of_range(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        trainable(**wrong)
