"""Fused, windowed and chunked affinities against dense ones at the paper's sizes: time and peak memory.

python benchmarks/affinity.py [--device cuda] [--repeat 3]

Each case runs in a process of its own, so that its peak is its own.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from peak_memory import peak_memory
from torch import Tensor

from mug.affinity.attention import attend
from mug.affinity.inliers import inlier_score
from mug.affinity.windowed import topk_attend


class Case(NamedTuple):
    """One comparison: what it is, how its inputs are made, and the two ways to compute it."""

    title: str
    inputs: Callable[[], tuple[Tensor, ...]]
    ours: Callable[..., Tensor]
    dense: Callable[..., Tensor]
    gradient: bool


def _unit(*shape: int) -> Tensor:
    """Random features of unit length over the dimension of 64 channels."""
    return F.normalize(torch.randn(shape), dim=shape.index(64))


def _dense_attend(query: Tensor, source: Tensor, value: Tensor) -> Tensor:
    return (query @ source.transpose(1, 2) / 0.07).softmax(2) @ value


def _dense_topk(query: Tensor, memory: Tensor, values: Tensor) -> Tensor:
    height, width = query.shape[1:]
    y, x = (steps.flatten() for steps in torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"))
    far = ((y[:, None] - y).abs() > 12) | ((x[:, None] - x).abs() > 12)
    logits = torch.einsum("cq,tcm->qtm", query.flatten(1), memory.flatten(2)) / 0.07
    logits = logits.masked_fill_(far[:, None].to(logits.device), -torch.inf).flatten(1)
    best, index = logits.topk(10)
    read = values.movedim(1, -1).flatten(0, 2)[index]
    return torch.einsum("qk,qkl->lq", best.softmax(1), read).view(-1, height, width)


def _dense_inliers(query: Tensor, source: Tensor, theta: Tensor) -> Tensor:
    batch, _, height, width = query.shape
    affinity = torch.einsum("bcq,bcm->bqm", query.flatten(2), source.flatten(2)).div(0.07).softmax(2)
    identity = torch.eye(height * width, device=query.device).view(1, -1, height, width).expand(batch, -1, -1, -1)
    grid = F.affine_grid(theta, [batch, 1, height, width], align_corners=False)
    weight = F.grid_sample(identity, grid, align_corners=False).flatten(2).transpose(1, 2)
    return (affinity * weight / weight.sum(1, keepdim=True).clamp(min=1)).sum(2).mean(1)


CASES = [
    Case(
        "attend: 64x64 query, 7 references, with gradients (Eq. 9)",
        lambda: (_unit(1, 4096, 64), _unit(1, 7 * 4096, 64), torch.randn(1, 7 * 4096, 128)),
        lambda q, s, v: attend(q, s, v, 0.07), _dense_attend, True,
    ),
    Case(
        "topk_attend: 60x107, 7 frames, radius 12, top 10 (Eq. 17)",
        lambda: (_unit(64, 60, 107), _unit(7, 64, 60, 107), torch.rand(7, 3, 60, 107)),
        lambda q, m, v: topk_attend(q, m, v, 10, 12, 0.07), _dense_topk, False,
    ),
    Case(
        "topk_attend: 60x107, 20 frames, radius 12, top 10 (Eq. 17)",
        lambda: (_unit(64, 60, 107), _unit(20, 64, 60, 107), torch.rand(20, 3, 60, 107)),
        lambda q, m, v: topk_attend(q, m, v, 10, 12, 0.07), _dense_topk, False,
    ),
    Case(
        "inlier_score: 2 pairs of 64x64, with gradients (Eq. 8)",
        lambda: (_unit(2, 64, 64, 64), _unit(2, 64, 64, 64), torch.eye(2, 3).repeat(2, 1, 1) * 0.9),
        lambda q, s, t: inlier_score(q, s, t, 0.07), _dense_inliers, True,
    ),
]  # fmt: skip


def _run(case: Case, compute: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> None:
    with torch.set_grad_enabled(case.gradient):
        out = compute(*inputs)
        if case.gradient:
            out.sum().backward()


def _measure(number: int, dense: bool, device: str, repeat: int, answer: multiprocessing.Queue) -> None:
    """Puts (median seconds, MiB beyond what the process with its inputs held)."""
    case = CASES[number]
    compute = case.dense if dense else case.ours
    torch.manual_seed(0)
    inputs = tuple(x.to(device).requires_grad_(case.gradient) for x in case.inputs())
    before = peak_memory(device)
    seconds = []
    for _ in range(repeat):
        start = time.perf_counter()
        _run(case, compute, inputs)
        if device != "cpu":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    answer.put((sorted(seconds)[len(seconds) // 2], peak_memory(device) - before))


def main() -> None:
    """Measures all cases and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    print(f"torch {torch.__version__}, {options.device}, {torch.get_num_threads()} threads, median of {options.repeat}")
    print(f"{'':62s}{'ours':>20s}{'dense':>20s}")
    for number, case in enumerate(CASES):
        cells = []
        for dense in (False, True):
            answer = context.Queue()
            process = context.Process(target=_measure, args=(number, dense, options.device, options.repeat, answer))
            process.start()
            process.join()
            if process.exitcode:
                cells.append("failed")
                continue
            seconds, mebibytes = answer.get()
            cells.append(f"{seconds:7.2f} s {mebibytes:6.0f} MiB")
        print(f"{case.title:62s}{cells[0]:>20s}{cells[1]:>20s}", flush=True)


if __name__ == "__main__":
    main()
