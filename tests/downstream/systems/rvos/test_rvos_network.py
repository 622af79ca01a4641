"""The decoder of RVOS against its equations, and what its options change."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from downstream.systems.rvos import RVOSConfig
from downstream.systems.rvos.conv_lstm import ConvLSTM
from downstream.systems.rvos.network import RVOS
from mug.errors import InputError
from mug.options import TrunkConfig
from tests.downstream.systems.rvos.dense import TRUNK, features, frame_of_objects, small, theirs

SIZE = (32, 48)


def frames_of(count: int, seed: int, size: tuple[int, int] = SIZE) -> Tensor:
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_step_of_the_recurrence_is_that_of_a_conv_lstm() -> None:
    """Value and gradient, cell by cell, without a convolution of torch."""
    torch.manual_seed(0)
    lstm = ConvLSTM(2, 3, 4).double()
    frame, rest, cell = (torch.randn(1, c, 3, 5, dtype=torch.float64, requires_grad=True) for c in (2, 3, 4))
    h, c = lstm(lstm.frame(frame), rest, cell)
    x = torch.nn.functional.pad(torch.cat([frame, rest], 1), (1, 1, 1, 1))
    kernel = torch.cat([lstm.frame.weight, lstm.rest.weight], 1)
    expected_h, expected_c = torch.empty_like(h), torch.empty_like(c)
    for row, column in product(range(3), range(5)):
        gates = (kernel * x[0, :, row : row + 3, column : column + 3]).sum((1, 2, 3)) + lstm.frame.bias
        take, keep, show, new = gates.view(4, 4)
        now = torch.sigmoid(keep) * cell[0, :, row, column] + torch.sigmoid(take) * torch.tanh(new)
        expected_c[0, :, row, column] = now
        expected_h[0, :, row, column] = torch.sigmoid(show) * torch.tanh(now)
    torch.testing.assert_close((h, c), (expected_h, expected_c))
    inputs = [frame, rest, cell, *lstm.parameters()]
    weight = torch.randn_like(h)
    torch.testing.assert_close(
        torch.autograd.grad((weight * h + c).sum(), inputs),
        torch.autograd.grad((weight * expected_h + expected_c).sum(), inputs),
    )


@pytest.mark.parametrize("task", ["zero-shot", "one-shot"])
@pytest.mark.parametrize("recurrence", ["both", "spatial", "temporal"])
@pytest.mark.parametrize("readout", [1, 3])
def test_the_decoder_is_that_of_the_equations(task: str, recurrence: str, readout: int) -> None:
    """Masks, states, stop scores and all gradients of two frames; a third object comes with the second frame."""
    network = small(1, task=task, recurrence=recurrence, readout=readout).double()
    masks = torch.rand(2, 2, 3, *SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    counts, weights = (2, 3), theirs(network)
    hidden, before = None, None
    total, expected_total = torch.zeros(()), torch.zeros(())
    for t, count in enumerate(counts):
        frames = frames_of(2, 10 + t)
        shown = masks[t, :, :count] if task == "one-shot" else None
        out = network.decode(network.see(frames), SIZE, count, hidden, shown)
        logits, h = frame_of_objects(
            weights,
            features(network, frames),
            SIZE,
            count,
            spatial=recurrence != "temporal" or (task == "zero-shot" and t == 0),
            temporal=recurrence != "spatial",
            before=before,
            masks_bnhw=shown,
        )
        torch.testing.assert_close(out.logits, logits)
        assert logits.std() > 0.01
        for k, level in enumerate(out.hidden):
            torch.testing.assert_close(level, torch.stack([state[k] for state in h], 1))
        hidden, before = out.hidden, h
        total = total + (out.logits * masks[t, :, :count]).sum()
        expected_total = expected_total + (logits * masks[t, :, :count]).sum()
        if task == "one-shot":
            assert out.stops is None
            continue
        maxima = torch.stack([torch.cat([x.amax((2, 3)) for x in state], 1) for state in h], 1)
        stops = maxima @ network.stop.weight[0] + network.stop.bias  # type: ignore[union-attr]
        torch.testing.assert_close(out.stops, stops)
        total, expected_total = total + out.stops.square().sum(), expected_total + stops.square().sum()
    parameters = {name: p for name, p in network.named_parameters() if p.requires_grad}
    found = torch.autograd.grad(total, list(parameters.values()), retain_graph=True)
    expected = torch.autograd.grad(expected_total, list(parameters.values()))
    for name, one, other in zip(parameters, found, expected, strict=True):
        torch.testing.assert_close(one, other, msg=lambda text, name=name: f"{name}: {text}")
        assert one.abs().sum() > 0, name


@pytest.mark.parametrize("recurrence", ["both", "spatial", "temporal"])
def test_without_temporal_recurrence_frames_are_independent(recurrence: str) -> None:
    network = small(3, recurrence=recurrence).double()
    masks = torch.rand(1, 2, *SIZE, dtype=torch.float64)
    now = network.see(frames_of(1, 0))
    after = [
        network.decode(
            now, SIZE, 2, network.decode(network.see(frames_of(1, seed)), SIZE, 2, None, masks).hidden, masks
        )
        for seed in (1, 2)
    ]
    assert torch.equal(after[0].logits, after[1].logits) is (recurrence == "spatial")


@pytest.mark.parametrize("recurrence", ["both", "spatial", "temporal"])
def test_without_spatial_recurrence_objects_are_independent(recurrence: str) -> None:
    network = small(4, recurrence=recurrence).double()
    gates = network.see(frames_of(1, 0))
    masks = torch.rand(1, 2, *SIZE, dtype=torch.float64)
    other = torch.rand_like(masks)
    found = network.decode(gates, SIZE, 2, None, masks).logits
    first = network.decode(gates, SIZE, 2, None, torch.stack([other[:, 0], masks[:, 1]], 1)).logits
    second = network.decode(gates, SIZE, 2, None, torch.stack([masks[:, 0], other[:, 1]], 1)).logits
    assert not torch.equal(first[:, 0], found[:, 0])
    assert torch.equal(first[:, 1], found[:, 1]) is (recurrence == "temporal")
    assert torch.equal(second[:, 0], found[:, 0])  # later objects never matter to earlier ones


def test_frames_of_a_batch_are_independent_and_sizes_are_free() -> None:
    network = small(5, task="zero-shot").double()
    frames = frames_of(2, 0, (37, 50))
    both = network.decode(network.see(frames), (37, 50), 3).logits
    assert both.shape == (2, 3, 37, 50)
    torch.testing.assert_close(network.decode(network.see(frames[1:]), (37, 50), 3).logits[0], both[1])


def test_the_options_give_the_special_cases_and_the_papers_sizes() -> None:
    paper = RVOS(RVOSConfig(trunk=TrunkConfig(kind="resnet", depth=101, stride=32), levels=4))
    shapes = [(tuple(level.frame.weight.shape), tuple(level.rest.weight.shape)) for level in paper.levels]
    assert shapes == [
        ((512, 128, 3, 3), (512, 1 + 2 * 128, 3, 3)),
        ((256, 128, 3, 3), (256, 128 + 1 + 2 * 64, 3, 3)),
        ((128, 64, 3, 3), (128, 64 + 1 + 2 * 32, 3, 3)),
        ((64, 32, 3, 3), (64, 32 + 1 + 2 * 16, 3, 3)),
    ]
    rsis = small(task="zero-shot", recurrence="spatial")
    assert [level.rest.weight.shape[1] for level in rsis.levels] == [8, 8 + 4, 4 + 2]
    assert rsis.stop is not None and rsis.stop.weight.shape == (1, 8 + 4 + 2)
    assert small(task="zero-shot", stop=False).stop is None
    ris = small(task="zero-shot", recurrence="spatial", levels=1)
    assert [level.rest.weight.shape[1] for level in ris.levels] == [8]
    assert ris.decode(ris.see(torch.rand(1, 3, *SIZE)), SIZE, 2).logits.shape == (1, 2, *SIZE)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"levels": 4}, "model.levels: 4 is out of range; the trunk has maps for 1 to 3"),
        ({"levels": 0}, "model.levels: 0"),
        ({"hidden": 6}, "model.hidden: 6 cannot be halved; use a multiple of 4"),
        ({"hidden": 0}, "model.hidden: 0"),
        ({"readout": 2}, "model.readout: 2 is not possible; use 1 or 3"),
    ],
)
def test_a_configuration_out_of_range_is_refused(wrong: dict[str, int], told: str) -> None:
    with pytest.raises(InputError, match=told):
        RVOS(RVOSConfig(trunk=TRUNK, **{"hidden": 8, **wrong}))  # type: ignore[arg-type]


def test_zero_shot_by_temporal_recurrence_tells_objects_apart_in_the_first_frame() -> None:
    """By the equations alone, all predictions of all frames would be the same."""
    network = small(6, task="zero-shot", recurrence="temporal").double()
    first = network.decode(network.see(frames_of(1, 0)), SIZE, 2)
    assert not torch.equal(first.logits[:, 0], first.logits[:, 1])
    gates = network.see(frames_of(1, 1))
    found = network.decode(gates, SIZE, 2, first.hidden).logits
    changed = [torch.stack([torch.rand_like(x[:, 0]), x[:, 1]], 1) for x in first.hidden]
    other = network.decode(gates, SIZE, 2, changed).logits
    assert torch.equal(other[:, 1], found[:, 1])  # from then on they are independent
    assert not torch.equal(other[:, 0], found[:, 0])
