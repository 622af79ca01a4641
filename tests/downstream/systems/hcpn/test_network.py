"""HCPN as a whole: what passes from stage to stage, and what each row of the ablations changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from downstream.systems.hcpn.attention import ParallelCoAttention
from downstream.systems.hcpn.network import FORMAT, HCPN, Stage
from downstream.systems.hcpn.options import HCPNConfig
from mug.errors import InputError
from mug.options import BackboneConfig, TrunkConfig

TRUNK = TrunkConfig(backbone=BackboneConfig(depth=18, stages=2, stride=8))
SMALL = HCPNConfig(trunk=TRUNK, channels=8, rates=(1, 2, 3), stacks=1)


def made(config: HCPNConfig = SMALL, seed: int = 0) -> HCPN:
    torch.manual_seed(seed)
    return HCPN(config).eval()


def pair(size: int = 32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(2, 2, 3, size, size, generator=generator), torch.rand(2, 3, size, size, generator=generator)


def test_stages_are_those_of_eq_1_with_motion_passed_on() -> None:
    network = made().double()
    frames, flow = (x.double() for x in pair())
    for stage in network.stages:
        if stage.strength is not None:
            stage.strength.data.fill_(0.3)  # type: ignore[operator]
    seen = {"motion": flow, "first": frames[:, 0], "second": frames[:, 1]}
    maps: dict[str, list[Tensor]] = {name: [] for name in seen}
    expected: list[tuple[Tensor, Tensor]] = []
    for level, stage in enumerate(network.stages):
        for name, image in seen.items():
            maps[name].append(network.trunks[name].next_map(image, maps[name]))  # type: ignore[operator]
        f, o, other = (maps[name][-1] for name in seen)

        def rows(x: Tensor) -> Tensor:
            return x.flatten(2).transpose(1, 2)

        def like(x: Tensor, size: torch.Size) -> Tensor:
            return x.transpose(1, 2).reshape(size)

        n, n_other = (like(stage.pcm(rows(x), rows(f)), f.shape) for x in (o, other))  # type: ignore[operator]
        plus = stage.ccm(n, n_other)  # type: ignore[operator]
        maps["motion"][-1] = f + 0.3 * plus if level < 2 else f
        v = [torch.cat([f + plus, image + own], 1) for image, own in ((o, n), (other, n_other))]
        expected.append((network.bridge[level](v[0]), network.bridge[level](v[1])))
    found = network.encode(frames, flow)
    assert len(found) == 3
    for v_bnchw, both in zip(found, expected, strict=True):
        assert torch.allclose(v_bnchw, torch.stack(both, 1), atol=1e-8)


@pytest.mark.parametrize("config", [SMALL, replace(SMALL, trunk=TrunkConfig(kind="resnet", depth=18, stride=32))])
def test_shapes(config: HCPNConfig) -> None:
    network, (frames, flow) = made(config), pair(64)
    masks, contours = network(frames, flow)
    four = config.trunk.kind == "resnet"
    assert masks.shape == (2, 2, 1, *([16, 16] if four else [32, 32]))
    assert contours is not None and contours.shape == (2, 2, 4 if four else 3, *masks.shape[-2:])
    assert [v.shape[2] for v in network.encode(frames, flow)] == ([128, 256, 512, 1024] if four else [128, 128, 1024])


def test_streams_have_weights_of_their_own_and_begin_alike(tmp_path: Path) -> None:
    from mug.checkpoint import save_weights
    from mug.model import MuG
    from mug.options import ModelConfig

    assert TRUNK.backbone is not None
    save_weights(tmp_path / "phi.safetensors", MuG(ModelConfig(TRUNK.backbone)).eval(), {})
    network = made()
    network.load_trunk(tmp_path / "phi.safetensors")
    first, second, motion = (network.trunks[name].phi.resnet.conv1.weight for name in ("first", "second", "motion"))
    assert torch.equal(first, second) and torch.equal(first, motion)
    assert len({x.data_ptr() for x in (first, second, motion)}) == 3


def test_frames_swap_with_their_streams() -> None:
    """Nothing but the trunks tells the two frames apart."""
    network, (frames, flow) = made(), pair()
    network.trunks["second"].load_state_dict(network.trunks["first"].state_dict())
    masks, contours = network(frames, flow)
    swapped, turned = network(frames.flip(1), flow)
    assert contours is not None and turned is not None
    assert torch.allclose(masks.flip(1), swapped, atol=1e-4)
    assert torch.allclose(contours.flip(1), turned, atol=1e-4)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, {"first", "second", "flow"}),
        ({"input": "frames"}, {"first", "second"}),
        ({"input": "flow"}, {"flow"}),
        ({"streams": 2}, {"first", "flow"}),
        ({"ccm": False}, {"first", "flow"}),
    ],
)
def test_what_a_mask_depends_on(more: dict[str, Any], expected: set[str]) -> None:
    network = made(replace(SMALL, **more))
    frames, flow = pair()
    frames.requires_grad_(), flow.requires_grad_()
    network(frames, flow).masks[:, 0].sum().backward()
    assert frames.grad is None or frames.grad.isfinite().all()
    found = set()
    for name, x in (("first", frames.grad), ("second", frames.grad), ("flow", flow.grad)):
        part = x if x is None or name == "flow" else x[:, int(name == "second")]
        if part is not None and part.abs().max() > 0:
            found.add(name)
    assert found == expected


def names(config: HCPNConfig) -> set[str]:
    return {name.partition(".weight")[0].partition(".bias")[0] for name in HCPN(config).state_dict()}


@pytest.mark.parametrize(
    ("more", "gone"),
    [
        ({"pcm": False}, ".pcm."),
        ({"ccm": False}, (".ccm.", ".strength")),
        ({"gac": "none"}, "bridge."),
        ({"mcr": False}, ("decoder.contours", "decoder.restriction")),
        ({"streams": 2}, "trunks.second"),
        ({"cascades": 2}, "stages.0."),
        ({"cascades": 0}, "stages."),
        ({"fusion": "addition"}, ".ccm.fuse"),
    ],
)
def test_an_ablation_takes_away_its_part_alone(more: dict[str, Any], gone: str | tuple[str, ...]) -> None:
    parts = (gone,) if isinstance(gone, str) else gone
    full, less = names(SMALL), names(replace(SMALL, **more))
    assert less < full
    assert full - less == {name for name in full if any(part in name for part in parts)}


def test_without_co_attention_motion_is_that_of_the_same_cell() -> None:
    stage = Stage(4, replace(SMALL, pcm=False, ccm=False), True)
    motion, frame = torch.rand(1, 4, 3, 3), torch.rand(1, 4, 3, 3)
    (v, _), passed = stage(motion, [frame, frame])
    assert torch.equal(v, torch.cat([motion, frame + motion], 1))
    assert torch.equal(passed, motion)


def test_stacks_repeat_the_co_attention_with_the_same_weights() -> None:
    one, three = ParallelCoAttention(6, 1, 16), ParallelCoAttention(6, 3, 16)
    three.load_state_dict(one.state_dict())
    x, y = torch.rand(1, 9, 6), torch.rand(1, 9, 6)
    assert not torch.allclose(one(x, y), three(x, y))


def test_released_gate_begins_as_the_identity_and_the_papers_normalises() -> None:
    plain = made(replace(SMALL, gac="none")).double()
    frames, flow = (x.double() for x in pair())
    expected = plain.encode(frames, flow)
    found = {}
    for name in ("paper", "released"):
        network = HCPN(replace(SMALL, gac=name)).eval().double()  # type: ignore[arg-type]
        network.load_state_dict(plain.state_dict(), strict=False)
        found[name] = network.encode(frames, flow)
    for v, same, normed in zip(expected, found["released"], found["paper"], strict=True):
        assert torch.allclose(v, same, atol=1e-8)
        mean_square = (v.square().sum((3, 4), keepdim=True) + 1e-5) / (v.shape[-1] * v.shape[-2])
        assert torch.allclose(normed, v / mean_square.sqrt(), atol=1e-8)


def test_in_half_precision_it_is_the_same_to_two_digits() -> None:
    network, (frames, flow) = made(), pair()
    with torch.no_grad():
        expected = network(frames, flow).masks
        with torch.autocast("cpu", torch.bfloat16):
            found = network(frames, flow).masks
    assert found.dtype == torch.float32
    assert torch.allclose(found.sigmoid(), expected.sigmoid(), atol=0.05)


def test_weights_come_back(tmp_path: Path) -> None:
    network, (frames, flow) = made(replace(SMALL, stacks=2, fusion="concatenation")), pair()
    FORMAT.save(tmp_path / "hcpn.safetensors", network, {})
    again, _ = FORMAT.load(tmp_path / "hcpn.safetensors")
    assert again.config == network.config
    with torch.no_grad():
        assert torch.allclose(again(frames, flow).masks, network(frames, flow).masks, atol=0.05)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"channels": 0}, "channels: 0"),
        ({"stacks": 0}, "stacks: 0"),
        ({"reduction": 0}, "reduction: 0"),
        ({"streams": 4}, "streams: 4"),
        ({"cascades": 5}, "cascades: 5"),
        ({"fusion": "mean"}, "fusion: 'mean'"),
        ({"gac": "x"}, "gac: 'x'"),
        ({"input": "sound"}, "input: 'sound'"),
    ],
)
def test_settings_out_of_range(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        HCPN(replace(SMALL, **wrong))


def test_flow_is_required_by_all_that_see_it() -> None:
    with pytest.raises(ValueError, match="flow is missing"):
        made()(pair()[0])
    assert made(replace(SMALL, input="frames"))(pair()[0]).masks.isfinite().all()
