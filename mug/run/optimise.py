"""Which weights are moved how far: optimiser, learning rate, the stream of sample keys."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.data import Sampler

from mug.run.options import OptimiserOptions, ScheduleOptions

Key = tuple[int, int, int]
"""(round, step, i): all that the randomness of a sample depends on, besides the seed."""


def build_optimiser(
    model: nn.Module, options: OptimiserOptions, scales: Mapping[str, float] | None = None
) -> torch.optim.Optimizer:
    """SGD or AdamW; filters and matrices decay, norms, biases and scalars do not.

    Args:
        model: Its parameters that require a gradient are trained.
        options: How the weights are moved.
        scales: Learning rates of parts of the model, as factors of `options.lr`, by how their names begin; 1 for the
            rest. Each group keeps its factor under `scale`, which `set_learning_rate` goes by.
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
    """Gives every group its share of a learning rate."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group["scale"]


def learning_rate(step: int, first: int, last: int, peak: float, options: ScheduleOptions) -> float:
    """The learning rate of a step in a schedule that spans the steps from `first` up to `last`."""
    done, span = step - first, last - first
    if done < options.warmup:
        return peak * (done + 1) / (options.warmup + 1)
    progress = (done - options.warmup) / max(span - options.warmup, 1)
    if options.kind == "constant":
        return peak
    if options.kind == "poly":
        left = (1 - progress) ** options.power
    else:
        left = 0.5 * (1 + math.cos(math.pi * progress))
    return peak * (options.floor + (1 - options.floor) * left)


@dataclass
class KeyBatches(Sampler[list[Key]]):
    """The keys of the samples that one process reads in a round from a step on, a list for each accumulated part.

    The batch of a step is the same however many processes share it: part `a` of process `r` are the samples
    `[(a * processes + r) * size, ...)`, so the parts of one process are the parts of all processes put together.
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
    """The steps of each round, counted through the run."""
    ranges, start = [], 0
    for count in steps:
        ranges.append(range(start, start + count))
        start += count
    return ranges
