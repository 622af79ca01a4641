"""Co-attention of COSNet against the same with the affinity held as a matrix, forward and backward: time and memory.

python benchmarks/co_attention.py [--device cuda] [--repeat 3] [--side 60] [--channels 256] [--form symmetric]

Time: both ways take turns in one process, so that what slows the machine slows both; the ratio is the median over the
turns. Memory: the peak beyond V_a, V_b, W's parameters and the gradients of Z_a and Z_b, each way in a process of its
own; on the CPU freed tensors are given back to the system at once, otherwise the peak would be that of the C library's
heap, much of which nobody holds. The gate and the head behind are the same for both and not measured.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from agnn import _in_own_process
from peak_memory import memory_of
from torch import Tensor

from downstream.systems.cosnet.affinity import FORMS
from mug.affinity.attention import co_attend


def _ours(a: Tensor, b: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    z_b, z_a = co_attend(b, a, weight)
    return z_a, z_b


def _dense(a: Tensor, b: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """S and both of its softmaxes as matrices that autograd keeps."""
    s = b @ weight @ a.transpose(1, 2)
    return s.transpose(1, 2).softmax(2) @ b, s.softmax(2) @ a


WAYS: dict[str, Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]] = {"ours": _ours, "dense": _dense}


class Case:
    """V_a, V_b, the form of W, and the gradients of Z_a and Z_b."""

    def __init__(self, options: argparse.Namespace) -> None:
        torch.manual_seed(0)
        self.form = FORMS[options.form](options.channels).to(options.device)
        shape = (1, options.side**2, options.channels)
        self.v = [torch.randn(shape, device=options.device).relu().requires_grad_() for _ in "ab"]
        self.upstream = [torch.randn(shape, device=options.device) for _ in "ab"]

    def step(self, way: str) -> list[Tensor]:
        """Z_a, Z_b and the gradients of V_a, V_b and W's parameters."""
        z = WAYS[way](*self.v, self.form())
        gradients = torch.autograd.grad(z, [*self.v, *self.form.parameters()], self.upstream)
        return [*(x.detach() for x in z), *gradients]


def _memory(way: str, options: argparse.Namespace, answer: Any) -> None:
    case = Case(options)
    answer.put(memory_of(lambda: case.step(way), options.device))


def _seconds(options: argparse.Namespace, answer: Any) -> None:
    """Puts the seconds of each way in each turn, and the largest relative difference of their results."""
    case = Case(options)
    for way in WAYS:
        case.step(way)  # what libraries load once
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    results: dict[str, list[Tensor]] = {}
    for _ in range(options.repeat):
        for way in WAYS:
            start = time.perf_counter()
            results[way] = case.step(way)
            if options.device != "cpu":
                torch.cuda.synchronize()
            seconds[way].append(time.perf_counter() - start)
    pairs = zip(results["ours"], results["dense"], strict=True)
    answer.put((seconds, max(float((x - y).abs().max() / y.abs().max().clamp(min=1e-12)) for x, y in pairs)))


def main() -> None:
    """Measures both ways and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--side", type=int, default=60)
    parser.add_argument("--channels", type=int, default=256)
    parser.add_argument("--form", choices=list(FORMS), default="symmetric")
    options = parser.parse_args()
    size = f"{options.form}, {options.side} x {options.side} x {options.channels}"
    threads = torch.get_num_threads()
    print(f"{size}, torch {torch.__version__}, {options.device}, {threads} threads, median of {options.repeat}")
    seconds, difference = _in_own_process(_seconds, options)
    os.environ["MALLOC_MMAP_THRESHOLD_"] = "200000"  # read by the C library of the processes to come
    memory = {way: _in_own_process(_memory, way, options) for way in WAYS}
    for way in WAYS:
        print(f"{way:6s} {median(seconds[way]):6.2f} s {memory[way]:7.1f} MiB")
    faster = median(dense / ours for ours, dense in zip(seconds["ours"], seconds["dense"], strict=True))
    print(f"dense / ours: time {faster:.2f}, memory {memory['dense'] / max(memory['ours'], 1):.1f}")
    print(f"largest difference of values and gradients, relative to the largest of each: {difference:.1e}")


if __name__ == "__main__":
    main()
