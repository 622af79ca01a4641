"""Optimiser groups, learning rates and the keys of the samples."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mug.run.optimise import KeyBatches, boundaries, build_optimiser, learning_rate, set_learning_rate
from mug.run.options import OptimiserOptions, ScheduleOptions


def test_norms_biases_and_scalars_do_not_decay() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    optimiser = build_optimiser(model, OptimiserOptions(kind="adamw", weight_decay=0.3))
    decayed, rest = optimiser.param_groups
    assert decayed["weight_decay"] == 0.3
    assert [tuple(p.shape) for p in decayed["params"]] == [(4, 3, 3, 3), (2, 4)]
    assert rest["weight_decay"] == 0
    assert len(rest["params"]) == 4
    assert isinstance(build_optimiser(model, OptimiserOptions(kind="sgd")), torch.optim.SGD)


def test_parts_of_a_model_learn_at_rates_of_their_own() -> None:
    model = nn.ModuleDict({"trunk": nn.Linear(2, 2), "head": nn.Linear(2, 2)})
    model["head"].bias.requires_grad_(False)
    optimiser = build_optimiser(model, OptimiserOptions(), {"trunk.": 0.1})
    set_learning_rate(optimiser, 0.5)
    rates = {id(p): group["lr"] for group in optimiser.param_groups for p in group["params"]}
    assert {name: rates.get(id(p)) for name, p in model.named_parameters()} == {
        "trunk.weight": 0.05, "trunk.bias": 0.05, "head.weight": 0.5, "head.bias": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "step", "expected"),
    [
        ("cosine", 10, 1.0),
        ("cosine", 60, 0.1 + 0.9 * 0.5),
        ("cosine", 110, 0.1),
        ("poly", 60, 0.1 + 0.9 * 0.5**2),
        ("exponential", 60, 0.1**0.5),
        ("exponential", 110, 0.1),
        ("constant", 109, 1.0),
        ("cosine", 0, 1 / 11),
        ("poly", 9, 10 / 11),
    ],
)
def test_learning_rates(kind: str, step: int, expected: float) -> None:
    options = ScheduleOptions(kind=kind, warmup=10, power=2, floor=0.1)  # type: ignore[arg-type]
    assert learning_rate(step, 0, 110, 2.0, options) == pytest.approx(2 * expected)
    assert learning_rate(step + 500, 500, 610, 2.0, options) == pytest.approx(2 * expected)


def test_processes_share_the_very_batches_of_one() -> None:
    one = list(KeyBatches(2, range(5, 7), batch=8, accumulate=2))
    first, second = (list(KeyBatches(2, range(5, 7), batch=8, accumulate=2, rank=r, processes=2)) for r in (0, 1))
    assert one == [a + b for a, b in zip(first, second, strict=True)]
    assert one[0] == [(2, 5, i) for i in range(4)]
    assert len(one) == len(KeyBatches(2, range(5, 7), batch=8, accumulate=2)) == 4


def test_a_round_that_goes_on_reads_what_it_had_left() -> None:
    whole = list(KeyBatches(1, range(10), batch=2))
    assert list(KeyBatches(1, range(6, 10), batch=2)) == whole[6:]


def test_rounds_count_on() -> None:
    assert boundaries([3, 2]) == [range(3), range(3, 5)]
