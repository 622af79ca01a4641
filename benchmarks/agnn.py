"""AGNN's message passing against the same with every edge held as a matrix, forward and backward: time and memory.

python benchmarks/agnn.py [--device cuda] [--repeat 3] [--frames 5] [--side 60] [--channels 256]

Time: both ways take turns in one process, so that what slows the machine slows both; the ratio is the median over the
turns. Memory: once, each way in a process of its own, so that its peak is its own; on the CPU freed tensors are given
back to the system at once, otherwise the peak would be that of the C library's heap, much of which nobody holds.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import torch
from peak_memory import peak_memory
from torch import Tensor

from agnn_head.model import AGNN
from agnn_head.options import AGNNConfig, EmbeddingConfig
from mug.options import BackboneConfig

ROUNDS = (1, 3)


def _ours(model: AGNN, v_bnchw: Tensor, rounds: int) -> Tensor:
    return model.propagate(v_bnchw, iterations=rounds)


def _dense(model: AGNN, v_bnchw: Tensor, rounds: int) -> Tensor:
    states = list(v_bnchw.flatten(3).transpose(2, 3).contiguous().unbind(1))
    for _ in range(rounds):
        states = _dense_round(model, states)
    return torch.stack([x.transpose(1, 2) for x in states], 1).unflatten(3, v_bnchw.shape[-2:])


def _dense_round(model: AGNN, states: Sequence[Tensor]) -> list[Tensor]:
    """AGNN Eq. 4 - 10, every softmax a (P, P) matrix that autograd keeps; e_ji = e_ij^T is computed once a pair."""
    loop, line, gate = model.messages.loop, model.messages.line, model.messages.gate
    assert gate is not None

    def gated(message: Tensor) -> Tensor:
        return gate(message) * message

    heard = []
    for h in states:
        own = (loop.f(h) @ loop.h(h).transpose(1, 2)).softmax(2)
        heard.append(gated(loop.alpha * (own @ loop.l(h)) + h))
    for i, h_i in enumerate(states):
        query = h_i @ line.weight
        for j, h_j in list(enumerate(states))[i + 1 :]:
            edge = query @ h_j.transpose(1, 2)
            heard[i] = heard[i] + gated(edge.softmax(2) @ h_j)
            heard[j] = heard[j] + gated(edge.transpose(1, 2).softmax(2) @ h_i)
    return [model.update(h, m) for h, m in zip(states, heard, strict=True)]


WAYS: dict[str, Callable[[AGNN, Tensor, int], Tensor]] = {"ours": _ours, "dense": _dense}


def _model_and_input(options: argparse.Namespace) -> tuple[AGNN, Tensor]:
    torch.manual_seed(0)
    small = EmbeddingConfig(backbone=BackboneConfig(stages=1, stride=4))  # no part of what is measured
    model = AGNN(AGNNConfig(small, channels=options.channels)).to(options.device)
    torch.nn.init.constant_(model.messages.loop.alpha, 0.5)
    shape = (1, options.frames, options.side, options.side, options.channels)
    v = torch.randn(shape, device=options.device).relu().movedim(4, 2).requires_grad_()  # channels last, as of `embed`
    for compute in WAYS.values():
        compute(model, v[:, :2, :, :8, :8].detach().requires_grad_(), 1).sum().backward()  # what libraries load once
    model.zero_grad()
    return model, v


def _memory(way: str, rounds: int, options: argparse.Namespace, answer: multiprocessing.Queue) -> None:
    """Puts the MiB beyond what the process with the model and its input held."""
    model, v = _model_and_input(options)
    before = peak_memory(options.device)
    WAYS[way](model, v, rounds).sum().backward()
    answer.put(peak_memory(options.device) - before)


def _seconds(rounds: int, options: argparse.Namespace, answer: multiprocessing.Queue) -> None:
    """Puts the seconds of each way in each turn."""
    model, v = _model_and_input(options)
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(options.repeat):
        for way, compute in WAYS.items():
            start = time.perf_counter()
            compute(model, v, rounds).sum().backward()
            if options.device != "cpu":
                torch.cuda.synchronize()
            seconds[way].append(time.perf_counter() - start)
            v.grad = None
            model.zero_grad()
    answer.put(seconds)


def _in_own_process(measure: Callable[..., None], *arguments: object) -> Any:
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    process = context.Process(target=measure, args=(*arguments, answer))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"{measure.__name__}{arguments} failed")
    return answer.get()


def main() -> None:
    """Measures both ways at one and at three rounds and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--frames", type=int, default=5)
    parser.add_argument("--side", type=int, default=60)
    parser.add_argument("--channels", type=int, default=256)
    options = parser.parse_args()
    size = f"{options.frames} x {options.side} x {options.side} x {options.channels}"
    threads = torch.get_num_threads()
    print(f"{size}, torch {torch.__version__}, {options.device}, {threads} threads, median of {options.repeat}")
    print(f"{'':10s}" + "".join(f"{way:>22s}" for way in WAYS) + f"{'dense / ours':>28s}")
    for rounds in ROUNDS:
        seconds = _in_own_process(_seconds, rounds, options)
        os.environ["MALLOC_MMAP_THRESHOLD_"] = "200000"  # read by the C library of the processes to come
        memory = {way: _in_own_process(_memory, way, rounds, options) for way in WAYS}
        del os.environ["MALLOC_MMAP_THRESHOLD_"]
        cells = "".join(f"{f'{median(seconds[way]):.2f} s {memory[way]:6.0f} MiB':>22s}" for way in WAYS)
        faster = median(dense / ours for ours, dense in zip(seconds["ours"], seconds["dense"], strict=True))
        ratio = f"time {faster:.2f}, memory {memory['dense'] / max(memory['ours'], 1):.1f}"
        print(f"{f'K = {rounds}':10s}{cells}{ratio:>28s}", flush=True)


if __name__ == "__main__":
    main()
