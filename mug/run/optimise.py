"""Optimiser, learning rate schedule, and the stream of sample keys."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.data import Sampler

from mug.run.options import OptimiserOptions, ScheduleOptions

Key = tuple[int, int, int]
"""(round, step, i): together with the seed, it determines all randomness of a sample."""


def build_optimiser(
    model: nn.Module, options: OptimiserOptions, scales: Mapping[str, float] | None = None
) -> torch.optim.Optimizer:
    """SGD or AdamW, with weight decay of filters and matrices but not of norms, biases and scalars.

    Args:
        model: Its parameters that require a gradient are trained.
        options: Optimiser options.
        scales: Factors of `options.lr` for parts of the model, by prefix of the parameter name; 1 for the rest. Each
            group stores its factor as `scale`, for `set_learning_rate`.
    """
    scales = scales or {}
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {(1.0, True): [], (1.0, False): []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            scale = next((factor for start, factor in scales.items() if name.startswith(start)), 1.0)
            groups.setdefault((scale, parameter.ndim > 1), []).append(parameter)
    decay = {True: options.weight_decay, False: 0.0}
    described = [{"params": p, "weight_decay": decay[d], "scale": scale} for (scale, d), p in groups.items()]
    if options.kind == "sgd":
        return torch.optim.SGD(described, lr=options.lr, momentum=options.momentum)
    return torch.optim.AdamW(described, lr=options.lr, betas=(options.momentum, 0.999))


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Sets the learning rate of every group to `rate` times its `scale`."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group["scale"]


def learning_rate(step: int, first: int, last: int, peak: float, options: ScheduleOptions) -> float:
    """The learning rate of a step in a schedule over the steps from `first` up to, but excluding, `last`."""
    done, span = step - first, last - first
    if done < options.warmup:
        return peak * (done + 1) / (options.warmup + 1)
    progress = (done - options.warmup) / max(span - options.warmup, 1)
    if options.kind == "constant":
        return peak
    if options.kind == "exponential":
        return peak * options.floor**progress
    if options.kind == "poly":
        left = (1 - progress) ** options.power
    else:
        left = 0.5 * (1 + math.cos(math.pi * progress))
    return peak * (options.floor + (1 - options.floor) * left)


@dataclass
class KeyBatches(Sampler[list[Key]]):
    """The keys of the samples that one process reads in the given steps of a round, one list per accumulated part.

    The batch of a step does not depend on the number of processes: part `a` of process `r` consists of `size` samples
    from `(a * processes + r) * size` on, so part `a` of a single process is the union of parts `a` of all processes.
    """

    round: int
    steps: range
    batch: int
    accumulate: int = 1
    rank: int = 0
    processes: int = 1

    def __len__(self) -> int:
        return len(self.steps) * self.accumulate

    def __iter__(self) -> Iterator[list[Key]]:
        size = self.batch // (self.accumulate * self.processes)
        for step in self.steps:
            for part in range(self.accumulate):
                first = (part * self.processes + self.rank) * size
                yield [(self.round, step, i) for i in range(first, first + size)]


def boundaries(steps: Sequence[int]) -> list[range]:
    """The range of steps of each round, numbered over the whole run."""
    ranges, start = [], 0
    for count in steps:
        ranges.append(range(start, start + count))
        start += count
    return ranges
