"""Where a run computes, and how precisely."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from mug import precision
from mug.errors import InputError
from mug.run.engine import check_engine, launch, resolve_precision
from mug.run.folder import claim
from mug.run.options import Engine


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        (Engine(precision="8-bit"), "engine.precision"),
        (Engine(strategy="magic"), "engine.strategy"),
        (Engine(device="abacus"), "engine.device"),
        (Engine(devices=0), "engine.devices"),
        (Engine(threads=0), "engine.threads"),
    ],
)
def test_an_engine_that_does_not_exist_is_refused(engine: Engine, message: str) -> None:
    with pytest.raises(InputError, match=message):
        launch(engine)


def test_cuda_where_there_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(InputError, match="CUDA was asked for"):
        launch(Engine(device="cuda"))


SRUN = {"SLURM_NTASKS": "4", "SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "4", "SLURM_NTASKS_PER_NODE": "2"}
TORCHRUN = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}


@pytest.mark.parametrize(
    ("variables", "engine", "message"),
    [
        (TORCHRUN, Engine(), r"4 processes were started \(RANK\).* give --engine.devices 2 --engine.nodes 2$"),
        (SRUN, Engine(devices=4, nodes=2), r"SLURM_PROCID.* for 8; give --engine.devices 2 --engine.nodes 2$"),
        ({"SLURM_NTASKS": "4"}, Engine(devices=4), "started by srun; give `srun --ntasks-per-node=4 --nodes=1`"),
        (SRUN | {"SLURM_NTASKS_PER_NODE": ""}, Engine(), "give --engine.devices 4 --engine.nodes 1$"),
    ],
)
def test_another_number_of_processes_than_was_started_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variables: dict[str, str], engine: Engine, message: str
) -> None:
    """A process that takes itself for the only one would train on its own, in the folder of the others."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    @dataclass
    class Options:
        out: Path
        engine: Engine

    with pytest.raises(InputError, match=message):
        claim(Options(tmp_path / "run", engine), ())
    assert not (tmp_path / "run").exists()


def test_a_slurm_job_by_hand_starts_its_own_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "1")
    for name in ("bash", "interactive"):
        monkeypatch.setenv("SLURM_JOB_NAME", name)
        check_engine(Engine(devices=2, device="cpu"))
    monkeypatch.setenv("SLURM_JOB_NAME", "train")
    check_engine(Engine())


def units(patch: pytest.MonkeyPatch, there: bool) -> None:
    """Makes this machine one with or without bfloat16 units."""
    patch.setattr("mug.run.engine.has_units", lambda device_type: there)
    patch.setattr(precision, "has_units", lambda device_type: there)
    patch.setattr(precision, "slowdown", lambda device: 46.8)


@pytest.fixture
def torch_as_it_was() -> Iterator[None]:
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(strict, warn_only=True)


def test_auto_is_the_default() -> None:
    assert Engine().precision == "auto"


def test_auto_is_bf16_where_the_device_has_units_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(
        "mug.run.engine.has_units", lambda device_type: asked.append(device_type) or device_type == "cuda"
    )
    resolved = [resolve_precision(Engine(device=name)) for name in ("auto", "cuda", "cpu")]
    assert asked == ["cuda", "cuda", "cpu"]
    assert resolved == ["bf16-mixed", "bf16-mixed", "32-true"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    resolve_precision(Engine())
    assert asked[-1] == "cpu"
    assert resolve_precision(Engine(precision="64-true")) == "64-true"


@pytest.mark.parametrize(
    ("there", "precision", "computed", "line"),
    [
        (True, "auto", "bf16-mixed", "precision bf16-mixed (this CPU has bfloat16 units)"),
        (False, "auto", "32-true", "precision 32-true (this CPU has no bfloat16 units)"),
        (
            False,
            "bf16-mixed",
            "bf16-mixed",
            "mug: warning: engine.precision bf16-mixed: this CPU has no bfloat16 units; emulated, a convolution takes "
            "47 times as long as in 32-true",
        ),
    ],
)
@pytest.mark.usefixtures("torch_as_it_was")
def test_the_engine_says_its_precision_in_one_line(
    there: bool,
    precision: str,
    computed: str,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    units(monkeypatch, there)
    fabric = launch(Engine(device="cpu", threads=1, precision=precision))
    said = [text for text in capsys.readouterr().err.splitlines() if text.startswith(("precision ", "mug: "))]
    assert said == [line]
    with fabric.autocast():
        assert torch.is_autocast_enabled("cpu") is (computed == "bf16-mixed")


def test_heavy_packages_wait_until_they_are_needed() -> None:
    modules = "mug.run.engine, mug.run.folder, mug.run.log"
    code = f"import sys, {modules}; print(sorted(" + "{'lightning', 'tensorboard', 'yaml'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_mixed_precision_does_not_round_what_goes_into_a_model() -> None:
    """Coordinates in a batch need more digits than bfloat16 has."""

    class Keeps(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.seen = x
            return x @ x.T

    fabric = launch(Engine(device="cpu", precision="bf16-mixed", threads=1))
    model = fabric.setup_module(Keeps())
    with fabric.autocast():
        model(torch.full((2, 2), 1 / 3))
    assert model.seen.dtype == torch.float32 and model.seen[0, 0] == torch.tensor(1 / 3)
