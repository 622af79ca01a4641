"""What stops a pretraining run, before or in its first steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mug.command.preflight import preflight
from mug.errors import InputError, RunError
from mug.media.masks import read_soft
from mug.model import Batch, MuG
from mug.options import LossWeights
from mug.run.checkpoints import Checkpoints
from pretrain import preflight as step_preflight
from pretrain.options import PretrainOptions
from pretrain.train import pretrain
from tests.pretrain.tiny import rows, set_up, tiny


def test_a_loss_that_is_no_number_stops_the_run_and_names_its_videos(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, names = MuG.forward, []

    def burst(self: MuG, batch: Batch, weights: LossWeights, shares: bool = False) -> dict[str, Tensor]:
        names[:] = batch.names
        losses = forward(self, batch, weights, shares)
        if weights.short:  # the warm-up is over
            losses["video"] = losses["total"] = losses["total"] * torch.nan
        return losses

    monkeypatch.setattr(MuG, "forward", burst)
    with pytest.raises(RunError) as caught:
        pretrain(tiny(videos, tmp_path / "run"))
    message = str(caught.value)
    assert message.startswith("step 1: ")
    assert "video is nan" in message
    assert all(name in message for name in names)
    assert [row["step"] for row in rows(tmp_path / "run")] == [0]
    assert Checkpoints(tmp_path / "run/checkpoints").latest_step() is None


def change(**values: Any) -> Callable[[PretrainOptions], None]:
    def apply(options: PretrainOptions) -> None:
        for name, value in values.items():
            *path, last = name.split("__")
            place: Any = options
            for part in path:
                place = getattr(place, part)
            setattr(place, last, value)

    return apply


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (change(batch=5, accumulate=2), "give a multiple of 2"),
        (change(batch=0), "batch: 0"),
        (change(sample__size=60), "give a multiple of model.backbone.stride"),
        (change(batch=1, sample__size=32), "one single cell, .* give --batch 2 or more, or --sample.size 40 or more"),
        (change(rounds=0), "rounds: 0"),
        (change(rounds=[3, 0]), "rounds:"),
        (change(save_every=0), "save_every: 0"),
        (change(picture_every=-1), "picture_every: -1"),
        (change(share_every=-1), "share_every: -1"),
        (change(retrieval_every=-1), "retrieval_every: -1"),
        (change(optimiser__lr=0.0), "optimiser.lr"),
        (change(bootstrap__alpha=1.5), "bootstrap.alpha"),
        (change(batch=6), "holds 5 usable videos and a batch takes 6"),
        (change(sample__abstract=9), "has 8 frames and an abstract takes 9"),
        (change(maps=Path("nowhere")), "this map is missing"),
        (change(engine__device="cuda"), "CUDA was asked for"),
        (change(videos=Path("nowhere")), "nowhere: no such file or folder"),
        (change(bootstrap__prior="cam", bootstrap__classifier="torchvision:resnet18"), "resnet18: needs its weights"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_the_first_step(
    videos: Path,
    tmp_path: Path,
    wrong: Callable[[PretrainOptions], None],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    options = tiny(videos, tmp_path / "run")
    wrong(options)
    with pytest.raises(InputError, match=message):
        pretrain(options)
    assert not (tmp_path / "run" / "metrics.csv").exists()


def test_a_step_that_does_not_fit_into_memory_is_refused(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_preflight, "free_memory", lambda device: 2**20)
    with pytest.raises(InputError, match="give a larger --accumulate"):
        pretrain(tiny(videos, tmp_path / "run"))


def test_initial_maps_are_binary_where_asked_for(videos: Path, tmp_path: Path) -> None:
    options = tiny(videos, tmp_path / "run")
    options.bootstrap.binary_prior = True
    set_up(options)
    maps = [read_soft(path) for path in (tmp_path / "run/labels/prior").rglob("*.png")]
    assert len(maps) == 10 and set(np.unique(maps)) == {0, 255}
    soft = tiny(videos, tmp_path / "soft")
    set_up(soft)
    assert len(np.unique([read_soft(path) for path in (tmp_path / "soft/labels/prior").rglob("*.png")])) > 20
    options = tiny(videos, tmp_path / "other")
    options.bootstrap.binary_prior, options.maps = True, tmp_path / "soft/labels/prior"
    with pytest.raises(InputError, match="holds soft maps and --bootstrap"):
        pretrain(options)
    options.maps = tmp_path / "run/labels/prior"
    preflight(options)
