"""The loop: exact resume, several processes, accumulation, and everything that stops a run."""

from __future__ import annotations

import copy
import csv
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from mug.checkpoint import load_weights
from mug.command.options import parse
from mug.command.preflight import preflight
from mug.errors import InputError, RunError
from mug.media.masks import read_soft
from mug.model import Batch, MuG
from mug.options import PRESETS, LossWeights, ModelConfig
from mug.run import bfloat16
from mug.run import engine as runtime
from mug.run.checkpoints import Checkpoints
from mug.run.folder import claim
from mug.run.options import OptimiserOptions
from pretrain import preflight as step_preflight
from pretrain import train
from pretrain.augment import draw_changes
from pretrain.options import FREE_KEYS, PretrainOptions
from pretrain.preflight import check
from pretrain.train import pretrain

sys.path.insert(0, str(Path(__file__).parent))
from runs_in_children import make_videos
from runs_in_children import options as tiny

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "pretrain").glob("*.yaml"))


@pytest.fixture(autouse=True)
def torch_as_it_was() -> Iterator[None]:
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(strict, warn_only=True)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_videos(tmp_path_factory.mktemp("train") / "videos")


@pytest.fixture(scope="module")
def runs(videos: Path) -> tuple[Path, str]:
    """Runs in real processes (`whole`, `killed` at four moments, `one`, `two` at once), and what the script said."""
    script = Path(__file__).with_name("runs_in_children.py")
    command = [sys.executable, "-W", "ignore", str(script), str(videos), str(videos.parent)]
    environment = os.environ | {"PYTHONPATH": str(script.parents[2]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return videos.parent, done.stdout


def rows(run: Path) -> list[dict[str, float]]:
    with (run / "metrics.csv").open() as file:
        return [{name: float(value or "nan") for name, value in row.items()} for row in csv.DictReader(file)]


# --- runs in real processes ------------------------------------------------------------------------------------------


def test_a_run_killed_again_and_again_ends_as_the_undisturbed_one(runs: tuple[Path, str]) -> None:
    folder, said = runs
    killed = [f"{name} 9" for name in ("kill_in_prior", "kill_in_step", "kill_in_checkpoint", "kill_in_relabelling")]
    assert said.splitlines() == [*killed, "last 0"]
    assert (folder / "killed/metrics.csv").read_bytes() == (folder / "whole/metrics.csv").read_bytes()
    whole, _ = load_weights(folder / "whole/phi.safetensors")
    again, _ = load_weights(folder / "killed/phi.safetensors")
    for name, value in whole.state_dict().items():
        if not name.startswith(("kappa", "short")):
            assert torch.equal(value, again.state_dict()[name]), name


def test_a_run_leaves_all_it_should_and_nothing_half_written(runs: tuple[Path, str]) -> None:
    folder, _ = runs
    for run in (folder / "whole", folder / "killed"):
        assert [path.name for path in run.rglob(".*")] == []
        assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["step0000004.pt", "step0000005.pt"]
        names = {"config.yaml", "metrics.csv", "timing.csv", "checkpoints", "labels", "pictures", "phi.safetensors"}
        assert names <= {path.name for path in run.iterdir()}
        for part in ("prior", "round1"):
            assert len(list((run / "labels" / part).rglob("*.png"))) == 5 * 2
        assert sorted(path.name for path in (run / "pictures").iterdir()) == [
            f"0000004_{name}.png" for name in ("labels", "tracking", "warps")
        ]
    _, metadata = load_weights(folder / "whole/phi.safetensors")
    assert metadata["training"].startswith("5 videos, 40 frames")
    assert metadata["steps"] == "5"
    assert {"date", "commit", "options", "round", "temperature"} <= metadata.keys()


def test_retrieval_is_measured_as_often_as_asked(runs: tuple[Path, str]) -> None:
    for name in ("retrieval_recall", "retrieval_precision"):
        column = [row[name] for row in rows(runs[0] / "whole")]
        assert [math.isnan(value) for value in column] == [True, False, True, False, True]
        assert all(0 <= value <= 1 for value in column if not math.isnan(value))


def test_shares_of_the_gradient_are_measured_as_often_as_asked(runs: tuple[Path, str]) -> None:
    log = rows(runs[0] / "whole")
    shares = [{name: row[f"share_{name}"] for name in vars(LossWeights())} for row in log]
    assert [math.isnan(share["frame"]) for share in shares] == [False, True, False, True, False]
    assert all(math.isnan(shares[0][name]) for name in ("short", "long", "video"))  # the warm-up is without them
    for share in (shares[0], shares[2], shares[4]):
        assert sum(value for value in share.values() if not math.isnan(value)) == pytest.approx(1)


def test_metrics_say_what_was_trained(runs: tuple[Path, str]) -> None:
    log = rows(runs[0] / "whole")
    assert [(row["step"], row["round"]) for row in log] == [(0, 1), (1, 1), (2, 1), (3, 2), (4, 2)]
    first, later = log[0], log[1]
    assert first["total"] == pytest.approx(first["frame"] + first["readout"] + first["warp"])  # the warm-up's weights
    assert first["video"] != first["video"]
    parts = {"frame": 1, "readout": 1, "short": 0.1, "long": 0.02, "video": 0.5, "warp": 0.5}  # Eq. 16
    assert later["total"] == pytest.approx(sum(weight * later[name] for name, weight in parts.items()), rel=1e-5)


def test_two_processes_train_to_the_losses_of_one(runs: tuple[Path, str]) -> None:
    one, two = rows(runs[0] / "one"), rows(runs[0] / "two")
    assert len(one) == len(two) == 5
    for a, b in zip(one, two, strict=True):
        terms = ("frame", "readout", "short", "long", "video", "warp")
        for name in ("total", *terms, *(f"share_{term}" for term in terms)):
            assert b[name] == pytest.approx(a[name], nan_ok=True, rel=0, abs=1e-5), (a["step"], name)


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
    options.bootstrap.binary_prior, options.labels = True, tmp_path / "soft/labels/prior"
    with pytest.raises(InputError, match="holds soft maps and --bootstrap"):
        pretrain(options)
    options.labels = tmp_path / "run/labels/prior"
    preflight(options)


def test_every_term_of_the_model_has_a_column(videos: Path, tmp_path: Path) -> None:
    run = set_up(tiny(videos, tmp_path / "run"))
    batch = next(train.loader(run, train.training_set(run, 1), 1, range(1))).augment(8)
    assert run.network(batch, LossWeights(warp=1.0)).keys() <= set(train.COLUMNS)


# --- one step --------------------------------------------------------------------------------------------------------


def set_up(options: PretrainOptions) -> train.Run:
    return train.setup(options, claim(options, FREE_KEYS))


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
        total = before(raw.augment(8), options.weights)["total"]
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
    options.share_every, options.warmup.steps, options.weights.short = 1, 0, 1e-6
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
    for precision in ("32-true", "bf16-mixed"):
        options = tiny(videos, tmp_path / precision)
        options.engine.precision = precision
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
        monkeypatch.setattr(bfloat16, "has_units", lambda device_type, there=there: there)
        with pytest.raises(KeyboardInterrupt) if stop else nullcontext():
            pretrain(options())
    assert computed == [(0, "bf16-mixed"), (1, "bf16-mixed")]
    said = capsys.readouterr().err.splitlines()
    assert "precision bf16-mixed (this CPU has bfloat16 units)" in said
    assert any(re.fullmatch(r"mug: warning: .* no bfloat16 units; .* takes \d+ times .*", line) for line in said)
    assert (tmp_path / "run/phi.safetensors").is_file()


# --- what stops a run ------------------------------------------------------------------------------------------------


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


def test_a_finished_run_is_left_alone(runs: tuple[Path, str], capsys: pytest.CaptureFixture[str]) -> None:
    folder = runs[0] / "whole"
    stamps = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    pretrain(tiny(runs[0] / "videos", folder))
    assert "this run is finished" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == stamps


def test_a_run_of_another_configuration_is_refused(runs: tuple[Path, str]) -> None:
    options = tiny(runs[0] / "videos", runs[0] / "whole")
    options.optimiser.lr = 0.5
    with pytest.raises(InputError, match=r"holds a run with optimiser\.lr = 0\.001 and this one has 0\.5"):
        pretrain(options)


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
        (change(labels=Path("nowhere")), "this map is missing"),
        (change(engine__accelerator="cuda"), "CUDA was asked for"),
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


# --- configurations --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_configuration_parses_and_its_model_builds(config: Path) -> None:
    spelt = ["--config", str(config), "--videos", "clips", "--out", "run"]
    options = parse("mug pretrain", PretrainOptions, (), spelt)
    check(options)
    assert options.engine.precision == ("32-true" if config.stem == "mug_resnet50_oxuva" else "auto")
    assert MuG(options.model).phi.stride == options.model.backbone.stride


def test_the_weak_configuration_differs_in_its_maps_alone() -> None:
    files = (CONFIGS[0].with_name(f"mug_resnet18_{name}.yaml") for name in ("cpu", "cpu_weak"))
    full, weak = (yaml.safe_load(file.read_text()) for file in files)
    assert weak["bootstrap"].pop("prior") == "motion-cam" and full["bootstrap"].pop("prior") == "motion"
    assert weak == full


def test_the_paper_is_there_number_by_number() -> None:
    options = parse(
        "mug pretrain", PretrainOptions, (), ["--config", str(CONFIGS[-1]), "--videos", "clips", "--out", "run"]
    )
    assert CONFIGS[-1].stem == "mug_resnet50_oxuva"
    assert (options.batch, options.sample.size, options.sample.abstract) == (16, 256, 8)
    weights = options.weights
    assert (weights.short, weights.long, weights.video, weights.warp) == (0.1, 0.02, 0.5, 0.0)
    assert (options.bootstrap.alpha, options.bootstrap.keep, options.rounds) == (0.05, "prediction", 2)
    assert (options.bootstrap.prior, options.bootstrap.refine) == ("manifold-ranking", "crf")
    assert options.bootstrap.binary and options.bootstrap.binary_prior
    assert options.optimiser.kind == "sgd"
    assert options.model == ModelConfig(PRESETS["paper"])
    frames = draw_changes((480, 854), options.sample, np.random.default_rng(0))
    shown = frames.theta[: -options.sample.abstract]  # 256 x 256 pixels show the whole frame, as it is
    np.testing.assert_allclose(shown, np.broadcast_to(np.eye(2, 3), shown.shape), atol=1e-12)
    np.testing.assert_allclose(frames.colour, np.broadcast_to(np.eye(3), frames.colour.shape), atol=1e-12)
    assert (frames.contrast == 1).all() and (frames.blur == 0).all()
    lines = CONFIGS[-1].read_text().splitlines()
    assert all("#" in line for line in lines if line.strip() and not line.rstrip().endswith(":"))
