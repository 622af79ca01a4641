"""One step of pretraining: accumulation, clipping, shares of the gradient, precision."""

from __future__ import annotations

import copy
import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from mug import precision
from mug.options import LossWeights
from mug.run import engine as runtime
from mug.run.options import OptimiserOptions
from pretrain import train
from pretrain.options import PretrainOptions
from pretrain.train import pretrain
from tests.pretrain.tiny import set_up, tiny


def test_every_term_of_the_model_has_a_column(videos: Path, tmp_path: Path) -> None:
    run = set_up(tiny(videos, tmp_path / "run"))
    batch = next(train.loader(run, train.training_set(run, 1), 1, range(1))).augment(8)
    assert run.network(batch, LossWeights(warp=1.0)).keys() <= set(train.COLUMNS)


def test_accumulated_parts_give_the_mean_of_their_gradients(videos: Path, tmp_path: Path) -> None:
    options = tiny(videos, tmp_path / "run")
    options.accumulate, options.warmup.steps = 2, 0
    options.optimiser = OptimiserOptions(kind="sgd", lr=0.5, momentum=0.0, weight_decay=0.0, clip=None)
    run = set_up(options)
    run.model.train()
    before = copy.deepcopy(run.network)
    values, _ = train.train_step(run, 0, 0.5, train.loader(run, train.training_set(run, 1), 1, range(1)))
    totals = []
    after = dict(run.network.named_parameters())
    moved = {name: (old - after[name]) / 0.5 for name, old in before.named_parameters()}
    for raw in train.loader(run, train.training_set(run, 1), 1, range(1)):
        assert len(raw.names) == 2
        total = before(raw.augment(8), options.loss)["total"]
        (total / 2).backward()
        totals.append(total.item())
    assert values["total"] == pytest.approx(sum(totals) / 2, rel=1e-5)
    for name, parameter in before.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(moved[name], parameter.grad, rtol=1e-3, atol=1e-4)


def test_clipping_limits_the_step(videos: Path, tmp_path: Path) -> None:
    options = tiny(videos, tmp_path / "run")
    options.optimiser = OptimiserOptions(kind="sgd", lr=1.0, momentum=0.0, weight_decay=0.0, clip=0.01)
    run = set_up(options)
    before = [parameter.detach().clone() for parameter in run.network.parameters()]
    values, _ = train.train_step(run, 0, 1.0, train.loader(run, train.training_set(run, 1), 1, range(1)))
    length = sum((old - new).square().sum() for old, new in zip(before, run.network.parameters(), strict=True)).sqrt()
    assert values["grad_norm"] > 1
    assert length.item() == pytest.approx(0.01, rel=1e-2)


def test_a_term_that_teaches_next_to_nothing_is_named_once(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = tiny(videos, tmp_path / "run")
    options.share_every, options.warmup.steps, options.loss.short = 1, 0, 1e-6
    run = set_up(options)
    run.model.train()
    batches = train.loader(run, train.training_set(run, 1), 1, range(2))
    for step in range(2):
        values, _ = train.train_step(run, step, 1e-3, batches)
        assert values["share_short"] < 0.01
    said = [line for line in capsys.readouterr().err.splitlines() if "teaches next to nothing" in line]
    assert len(said) == 1
    assert said[0].startswith("step 0: the term 'short' has 0.00% of the trunk's gradient")


def test_bf16_on_the_cpu_learns_nearly_the_same(videos: Path, tmp_path: Path) -> None:
    totals = []
    for kind in ("32-true", "bf16-mixed"):
        options = tiny(videos, tmp_path / kind)
        options.engine.precision = kind
        run = set_up(options)
        values, _ = train.train_step(run, 0, 1e-3, train.loader(run, train.training_set(run, 1), 1, range(1)))
        totals.append(values["total"])
    assert totals[0] != totals[1]
    assert totals[1] == pytest.approx(totals[0], rel=0.02)


def test_a_bf16_run_goes_on_in_bf16_where_it_is_emulated(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def options() -> PretrainOptions:
        chosen = tiny(videos, tmp_path / "run")
        chosen.engine.precision, chosen.rounds, chosen.save_every = "auto", [2], 1
        chosen.picture_every = chosen.retrieval_every = 0
        return chosen

    step, computed = train.train_step, []

    def stop_after_one(run: train.Run, number: int, *rest: Any) -> Any:
        if stop and number == 1:
            raise KeyboardInterrupt
        computed.append((number, run.fabric._precision.precision))
        return step(run, number, *rest)

    monkeypatch.setattr(train, "train_step", stop_after_one)
    for there, stop in ((True, True), (False, False)):
        monkeypatch.setattr(runtime, "has_units", lambda device_type, there=there: there)
        monkeypatch.setattr(precision, "has_units", lambda device_type, there=there: there)
        with pytest.raises(KeyboardInterrupt) if stop else nullcontext():
            pretrain(options())
    assert computed == [(0, "bf16-mixed"), (1, "bf16-mixed")]
    said = capsys.readouterr().err.splitlines()
    assert "precision bf16-mixed (this CPU has bfloat16 units)" in said
    assert any(re.fullmatch(r"mug: warning: .* no bfloat16 units; .* takes \d+ times .*", line) for line in said)
    assert (tmp_path / "run/phi.safetensors").is_file()
