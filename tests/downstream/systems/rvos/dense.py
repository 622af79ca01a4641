"""RVOS written out in float64: one convolution of all inputs a level, interpolation and pooling by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from downstream.systems.rvos import RVOSConfig
from downstream.systems.rvos.network import RVOS
from mug.options import BackboneConfig, TrunkConfig

TRUNK = TrunkConfig(backbone=BackboneConfig(depth=18, stages=2, stride=8))


def small(seed: int = 0, **more: object) -> RVOS:
    """A network of three levels with random weights, in evaluation mode, whose norms are no identities."""
    torch.manual_seed(seed)
    network = RVOS(RVOSConfig(trunk=TRUNK, **{"hidden": 8, **more})).eval()  # type: ignore[arg-type]
    for skip in network.skips:
        norm = skip[1]
        for x in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            x.data = torch.rand_like(x) + 0.5
    for level in network.levels:  # else the masks of random weights are almost even
        level.frame.weight.data *= 3
        level.rest.weight.data *= 3
    network.mask.weight.data *= 5
    return network


def theirs(network: RVOS) -> dict[str, Tensor]:
    """The decoder's tensors under the names of the release: a single kernel for [h below | frame | rest]."""
    made = {"conv_out.weight": network.mask.weight, "conv_out.bias": network.mask.bias}
    below = 0
    for k, level in enumerate(network.levels):
        rest = level.rest.weight
        made[f"clstm_list.{k}.Gates.weight"] = torch.cat([rest[:, :below], level.frame.weight, rest[:, below:]], 1)
        made[f"clstm_list.{k}.Gates.bias"] = level.frame.bias
        below = level.rest.weight.shape[0] // 4
    return made


def features(network: RVOS, frames_bchw: Tensor) -> list[Tensor]:
    """f'(t,k), deepest first."""
    found = []
    for (conv, norm), x in zip(network.skips, reversed(network.trunk(frames_bchw)), strict=False):
        y = F.conv2d(x, conv.weight, conv.bias, padding=1)
        mean, var, gain, bias = (
            v[None, :, None, None] for v in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
        )
        found.append((y - mean) / torch.sqrt(var + norm.eps) * gain + bias)
    return found


def line(large: int, few: int) -> Tensor:
    """(large, few): linear interpolation that maps ends to ends."""
    at = torch.arange(large, dtype=torch.float64) * (few - 1) / (large - 1)
    return (1 - (at[:, None] - torch.arange(few, dtype=torch.float64)).abs()).clamp(min=0)


def larger(x: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear interpolation."""
    return line(size[0], x.shape[-2]) @ x @ line(size[1], x.shape[-1]).T


def pooled(x: Tensor, size: Sequence[int]) -> Tensor:
    """Maximum of each block."""
    rows, columns = x.shape[-2] // size[0], x.shape[-1] // size[1]
    return torch.stack([
        torch.stack([
            x[..., r * rows : (r + 1) * rows, c * columns : (c + 1) * columns].amax((-2, -1)) for c in range(size[1])
        ], -1) for r in range(size[0])
    ], -2)  # fmt: skip


State = list[list[Tensor]]
"""h(i, k)."""


def frame_of_objects(
    weights: Mapping[str, Tensor],
    feats: Sequence[Tensor],
    size: tuple[int, int],
    count: int,
    *,
    spatial: bool,
    temporal: bool,
    before: State | None,
    masks_bnhw: Tensor | None,
) -> tuple[Tensor, State]:
    """The objects of a frame, (B, n, H, W), and their hidden states."""
    h: State = []
    c: State = []
    logits = []
    for i in range(count):
        h.append([])
        c.append([])
        for k, f in enumerate(feats):
            kernel, bias = weights[f"clstm_list.{k}.Gates.weight"], weights[f"clstm_list.{k}.Gates.bias"]
            none = torch.zeros(len(f), len(bias) // 4, *f.shape[2:], dtype=torch.float64)
            inputs = [larger(h[i][k - 1], f.shape[-2:])] if k else []
            inputs.append(f)
            if masks_bnhw is not None:
                inputs.append(pooled(masks_bnhw[:, i : i + 1], f.shape[-2:]))
            if spatial or masks_bnhw is None:  # in zero-shot a kernel for it is always there
                inputs.append(h[i - 1][k] if i and spatial else none)
            if temporal:
                inputs.append(none if before is None or i >= len(before) else before[i][k])
            gates = F.conv2d(torch.cat(inputs, 1), kernel, bias, padding=1)
            take, keep, show, new = gates.chunk(4, 1)
            cell = torch.sigmoid(keep) * (c[i - 1][k] if i and spatial else none) + torch.sigmoid(take) * new.tanh()
            c[i].append(cell)
            h[i].append(torch.sigmoid(show) * cell.tanh())
        last = h[i][-1]
        twice = larger(last, (2 * last.shape[-2], 2 * last.shape[-1]))
        kernel = weights["conv_out.weight"]
        mask = F.conv2d(twice, kernel, weights["conv_out.bias"], padding=kernel.shape[-1] // 2)
        logits.append(larger(mask, size)[:, 0])
    return torch.stack(logits, 1), h
