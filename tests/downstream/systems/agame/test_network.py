"""The network of A-GAME against a transcription in float64; its objects, and the switches of the ablations."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from downstream.systems.agame.network import AGAME, State, joined, parted
from mug.errors import InputError
from mug.options import TrunkConfig
from tests.downstream.systems.agame.small import clip, network


def convolved(x: Tensor, layer: torch.nn.Conv2d) -> Tensor:
    """A convolution as a sum of shifted products; x is (C, h, w)."""
    kernel, rate = layer.weight, layer.dilation[0]
    reach = rate * (kernel.shape[-1] // 2)
    padded = F.pad(x, (reach,) * 4)
    out = torch.zeros(len(kernel), *x.shape[1:], dtype=x.dtype)
    for i in range(kernel.shape[2]):
        for j in range(kernel.shape[3]):
            moved = padded[:, i * rate : i * rate + x.shape[1], j * rate : j * rate + x.shape[2]]
            out = out + torch.einsum("oc,chw->ohw", kernel[:, :, i, j], moved)
    return out if layer.bias is None else out + layer.bias[:, None, None]


def shares(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """Mean of a mask (H, W) over each cell."""
    rows, columns = mask.shape[0] // size[0], mask.shape[1] // size[1]
    return mask.reshape(size[0], rows, size[1], columns).mean((1, 3))


def estimated(x: Tensor, y: Tensor, r: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Means and variances of the four components, for features (C, P), a mask (P) and r (4, C)."""

    def one(alpha: Tensor, k: int) -> tuple[Tensor, Tensor]:
        mean = (alpha * x).sum(1) / (1 + alpha.sum())
        return mean, r[k] + (alpha * (x - mean[:, None]) ** 2).sum(1) / (1 + alpha.sum())

    base = [one(1 - y, 0), one(y, 1)]
    weights = torch.stack([scored(x, theta) for theta in base]).exp()
    posterior = weights / weights.sum(0)
    return [*base, one(F.relu(1 - y - posterior[0]), 2), one(F.relu(y - posterior[1]), 3)]


def scored(x: Tensor, theta: tuple[Tensor, Tensor]) -> Tensor:
    mean, variance = (value[:, None] for value in theta)
    return -0.5 * (variance.log() + (x - mean) ** 2 / variance).sum(0)


def transcription(net: AGAME, frames: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
    """The whole method for several objects of one clip (N, 3, H, W); logits of coarse and final masks."""
    maps = [net.trunk(frame[None]) for frame in frames]
    deep = [m[-1][0] for m in maps]
    size = deep[0].shape[1:]
    r = F.softplus(net.appearance.floor)
    look = [convolved(d, net.appearance.project).flatten(1) for d in deep]
    masks = [shares(mask[0], size) for mask in given]
    first = list(masks)
    theta = [estimated(look[0], mask.flatten(), r) for mask in masks]
    coarse, final = [], []
    for t in range(1, len(frames)):
        rough, fine = [], []
        for m, mask in enumerate(masks):
            scores = torch.stack([scored(look[t], theta[m][k]) for k in range(4)]).unflatten(1, size)
            move = net.propagation
            h = convolved(deep[t], move.frame) + convolved(mask[None], move.mask)
            h = F.relu(h + convolved(deep[0], move.first_frame) + convolved(first[m][None], move.first_mask))
            h = F.relu(torch.cat([convolved(h, layer) for layer in move.pyramid]))
            h = F.relu(convolved(h, move.output))
            fuse = net.fusion
            h = F.relu(convolved(scores / len(look[t]), fuse.scores) + convolved(h, fuse.moved))
            h = F.relu(convolved(h, fuse.output))
            rough.append(convolved(h, fuse.coarse))
            up = net.upsampling
            for k, lateral, blend in zip([1], up.lateral, up.blend, strict=True):  # the map at stride 4
                skip = F.relu(convolved(maps[t][k][0], lateral))
                h = F.interpolate(h[None], skip.shape[1:], mode="bilinear")[0]
                h = F.relu(convolved(torch.cat([skip, h]), blend))
            fine.append(convolved(h, up.final))
        p = torch.cat(rough).sigmoid()
        if len(p) > 1:
            everything = torch.cat([(1 - p).prod(0, keepdim=True), p])
            odds = everything / (1 - everything)
            p = (odds / odds.sum(0))[1:]
        masks = list(p)
        new = [estimated(look[t], mask.flatten(), r) for mask in masks]
        theta = [
            [tuple(0.9 * a + 0.1 * b for a, b in zip(*both, strict=True)) for both in zip(*pair, strict=True)]
            for pair in zip(theta, new, strict=True)
        ]
        coarse.append(torch.cat(rough))
        final.append(torch.cat(fine))
    return torch.stack(coarse, 1), torch.stack(final, 1)


@pytest.mark.parametrize("objects", [1, 3])
def test_it_is_the_method_in_values_and_gradients(objects: int) -> None:
    net = network()
    frames, given = clip(videos=1, frames=4, objects=objects)
    given.requires_grad_()
    leaves = [given, *(p for name, p in net.named_parameters() if not name.startswith("trunk.phi."))]
    leaves.append(net.trunk.phi.resnet.get_submodule("layer2")[1].conv2.weight)
    gradients = []
    for outputs in (net(frames, given, [objects]), transcription(net, frames[0], given)):
        gradients.append(torch.autograd.grad(sum((x.sin()).sum() for x in outputs), leaves, retain_graph=True))
    for a, b in zip(net(frames, given, [objects]), transcription(net, frames[0], given), strict=True):
        torch.testing.assert_close(a, b)
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-8)
        assert a.abs().sum() > 0


@torch.no_grad()
def test_objects_together_are_as_each_by_itself() -> None:
    """Up to what is fed back, which their aggregation joins."""
    net = network()
    frames, given = clip()
    seen = net.see(frames[:, 0])
    together = net.step(seen.of([1, 2]), net.begin(seen.of([1, 2]), given))
    for m, video in enumerate([0, 1, 1]):
        own = net.see(frames[video : video + 1, 0])
        alone = net.step(own, net.begin(own, given[m : m + 1]))
        for a, b in zip(together, alone, strict=True):
            torch.testing.assert_close(a[m : m + 1], b)


@torch.no_grad()
def test_videos_do_not_mix() -> None:
    net = network()
    frames, given = clip(videos=3)
    coarse, final = net(frames, given, [1, 0, 2])
    for rows, video in (([0], 0), ([1, 2], 2)):
        alone = net(frames[video : video + 1], given[rows], [len(rows)])
        torch.testing.assert_close(coarse[rows], alone[0])
        torch.testing.assert_close(final[rows], alone[1])


@torch.no_grad()
def test_masks_that_are_fed_back_matter_and_are_aggregated() -> None:
    net = network()
    frames, given = clip(videos=1, objects=2)
    both, _ = net(frames, given, [2])
    alone, _ = net(frames, given[:1], [1])
    torch.testing.assert_close(both[:1, 0], alone[:, 0])
    assert not torch.allclose(both[:1, 1], alone[:, 1])


def test_states_of_objects_come_apart_and_together() -> None:
    net = network()
    frames, given = clip(videos=1)
    state = net.begin(net.see(frames[:, 0]).of([3]), given)
    again = joined(parted(state))
    assert isinstance(again, State) and len(parted(state)) == 3
    torch.testing.assert_close(again, state)
    torch.testing.assert_close(joined(parted(state)[::-1]).mask, state.mask.flip(0))


# --- the switches of the ablations -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "gone"),
    [
        ({"appearance": False}, {"appearance", "fusion.scores"}),
        ({"propagation": False}, {"propagation", "fusion.moved"}),
        ({"reference": False}, {"propagation.first_frame", "propagation.first_mask"}),
    ],
)
def test_a_part_that_is_off_has_no_weights(changes: dict[str, Any], gone: set[str]) -> None:
    whole, left = (set(dict(net.named_parameters())) for net in (network(), network(**changes)))
    missing = whole - left
    assert all(any(name.startswith(f"{part}.") for part in gone) for name in missing)
    assert all(any(name.startswith(f"{part}.") for name in missing) for part in gone)
    assert left - whole <= {"fusion.moved.bias"}


@torch.no_grad()
@pytest.mark.parametrize(
    ("changes", "first"),
    [
        ({"mixture": False}, False),
        ({"scores": "softmax"}, False),
        ({"update_rate": 0.0}, True),
        ({"update_rate": 0.5}, True),
    ],
)
def test_a_switch_changes_what_it_should(changes: dict[str, Any], first: bool) -> None:
    """Whether the first frame after the given mask stays as it is: the appearance model is not updated before."""
    frames, given = clip()
    plain, changed = network(), network(**changes)
    shapes = {name: x.shape for name, x in changed.state_dict().items()}
    changed.load_state_dict({n: x[tuple(map(slice, shapes[n]))] for n, x in plain.state_dict().items()})
    (before, _), (after, _) = (net(frames, given, [1, 2]) for net in (plain, changed))
    assert torch.allclose(before[:, 0], after[:, 0]) is first
    assert not torch.allclose(before[:, 1], after[:, 1])


@torch.no_grad()
def test_without_an_update_the_appearance_of_the_given_mask_stays() -> None:
    frames, given = clip(videos=1)
    for rate, stays in ((0.0, True), (0.1, False)):
        net = network(update_rate=rate)
        seen = net.see(frames[:, 0]).of([3])
        state = net.begin(seen, given)
        after = net.update(net.see(frames[:, 1]).of([3]), state, given.flip(0))
        assert state.theta is not None and after.theta is not None
        assert torch.equal(state.theta.mean, after.theta.mean) is stays


def test_without_end_to_end_training_the_estimate_is_a_constant() -> None:
    """Its floor r has no gradient then; the features of the frame that is scored still have one."""
    frames, given = clip()
    values = []
    for end_to_end in (True, False):
        net = network(end_to_end=end_to_end)
        values.append(net(frames, given, [1, 2])[1])
        values[-1].sum().backward()
        assert (net.appearance.floor.grad is not None) is end_to_end
        assert net.appearance.project.weight.grad.abs().sum() > 0
    assert torch.equal(*values)


def test_posteriors_are_fed_instead_of_log_scores() -> None:
    net = network(scores="softmax")
    frames, given = clip(videos=1)
    seen = net.see(frames[:, 0]).of([3])
    theta = net.begin(seen, given).theta
    scores = net.appearance(seen.looks, theta)
    assert scores.shape == (3, 4, 4, 6)
    torch.testing.assert_close(scores.sum(1), torch.ones(3, 4, 6, dtype=torch.float64))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"channels": 0}, "model.channels: 0"),
        ({"width": 0}, "model.width: 0"),
        ({"fine": -1}, "model.fine: -1"),
        ({"update_rate": 1.5}, "model.update_rate: 1.5"),
        ({"appearance": False, "propagation": False}, "model.appearance: nothing is left"),
        ({"trunk": TrunkConfig("resnet", stride=4)}, "trunk.stride: 4"),
    ],
)
def test_options_out_of_range(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        network(**changes)


def test_log_scores_are_fed_in_single_precision_under_autocast() -> None:
    """At bfloat16 they would be off by up to one part in 256."""
    net = network().float()
    frames, _ = clip(videos=1)
    seen = net.see(frames[:, 0].float()).of([3])
    scores = torch.randn(3, 4, 4, 6) * 1000
    read = F.conv2d(scores, net.fusion.scores.weight, net.fusion.scores.bias, padding=1)
    caught = []
    net.fusion.output.register_forward_pre_hook(lambda module, inputs: caught.append(inputs[0]))
    with torch.autocast("cpu", torch.bfloat16):
        net.fusion(scores, torch.zeros_like(seen.frame))
    torch.testing.assert_close(caught[0], read.relu())
