"""The run's folder, log, checkpoints and engine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
import yaml

from mug import bfloat16, runtime
from mug.errors import InputError
from mug.runtime import Checkpoints, Engine, MetricsLog, RunFolder, first_difference, to_plain


@dataclass
class Inner:
    """Options within options."""

    rate: float = 0.1
    where: Path = Path("a/b")


@dataclass
class Outer:
    """Options of a made-up command."""

    inner: Inner = field(default_factory=Inner)
    steps: tuple[int, ...] = (1, 2)


def test_options_become_plain_data() -> None:
    assert to_plain(Outer()) == {"inner": {"rate": 0.1, "where": "a/b"}, "steps": [1, 2]}


def test_first_difference_names_the_dotted_key_and_skips_free_ones() -> None:
    old = {"a": 1, "b": {"c": 2, "d": 3}, "e": 0}
    assert first_difference(old, old) is None
    assert first_difference(old, {"a": 1, "b": {"c": 2, "d": 4}, "e": 9}) == ("b.d", 3, 4)
    assert first_difference(old, {"a": 1, "b": {"c": 2, "d": 4}, "e": 0}, free=("b.d",)) is None
    assert first_difference({"a": 1}, {"a": 1, "new": 5}) == ("new", None, 5)


def test_a_run_folder_is_claimed_once_and_refuses_another_config(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.claim({"lr": 0.1, "out": "x"})
    assert folder.claim({"lr": 0.1, "out": "y"}, free=("out",)) == {"lr": 0.1, "out": "x"}
    with pytest.raises(InputError, match=r"lr = 0\.1 and this one has 0\.2"):
        folder.claim({"lr": 0.2, "out": "x"})


def test_a_run_remembers_what_it_was_started_with(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    assert folder.recorded("engine", "threads") is None
    folder.claim({"engine": {"threads": 3}})
    assert folder.recorded("engine", "threads") == 3
    assert folder.recorded("engine", "threads", "more") is None


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(InputError, match="no run"):
        RunFolder(tmp_path).claim({})
    assert sorted(os.listdir(tmp_path)) == ["holiday.jpg"]


def test_metrics_are_cut_back_to_the_step_and_half_lines_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    whole = MetricsLog(path, ("step", "loss"), 0)
    for step in range(5):
        whole.write({"step": step, "loss": step / 3})
    whole.close()
    undisturbed = path.read_bytes()
    path.write_bytes(undisturbed[:-4])  # a kill in the middle of the last line
    again = MetricsLog(path, ("step", "loss"), 3)
    assert path.read_text().splitlines()[-1].startswith("2,")
    for step in range(3, 5):
        again.write({"step": step, "loss": step / 3})
    again.close()
    assert path.read_bytes() == undisturbed


def test_metrics_start_anew_when_not_even_the_header_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,lo")
    log = MetricsLog(path, ("step", "loss"), 0)
    log.write({"step": 0, "loss": 1.0})
    log.close()
    assert path.read_text() == "step,loss\n0,1\n"


def test_a_term_that_is_off_leaves_its_place_empty_and_float32_survives_exactly(tmp_path: Path) -> None:
    loss = torch.rand((), generator=torch.Generator().manual_seed(3))
    log = MetricsLog(tmp_path / "metrics.csv", ("step", "off", "loss"), 0)
    log.write({"step": 0, "loss": loss.item()})
    log.close()
    _, off, written = (tmp_path / "metrics.csv").read_text().splitlines()[1].split(",")
    assert off == ""
    assert torch.tensor(float(written)) == loss


def test_two_checkpoints_are_kept_and_the_newest_readable_one_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.load() is None
    assert checkpoints.latest_step() is None
    for step in (1, 2, 3):
        checkpoints.save(step, {"step": step, "model": {"w": torch.full((2,), float(step))}})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step0000002.pt", "step0000003.pt"]
    assert checkpoints.latest_step() == 3
    state = checkpoints.load()
    assert state is not None
    assert state["step"] == 3
    (tmp_path / "step0000003.pt").write_bytes(b"half")
    state = checkpoints.load()
    assert state is not None
    assert state["step"] == 2
    assert "step0000003.pt" in capsys.readouterr().err
    (tmp_path / "step0000002.pt").write_bytes(b"half")
    with pytest.raises(InputError, match="no checkpoint can be read"):
        checkpoints.load()


def test_a_checkpoint_that_fails_to_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"step": 1})

    def fail(state: object, path: Path) -> None:
        Path(path).write_bytes(b"half of it")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        checkpoints.save(2, {"step": 2})
    assert [path.name for path in tmp_path.iterdir()] == ["step0000001.pt"]


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        (Engine(precision="8-bit"), "engine.precision"),
        (Engine(strategy="magic"), "engine.strategy"),
        (Engine(accelerator="abacus"), "engine.accelerator"),
        (Engine(devices=0), "engine.devices"),
        (Engine(threads=0), "engine.threads"),
    ],
)
def test_an_engine_that_does_not_exist_is_refused(engine: Engine, message: str) -> None:
    with pytest.raises(InputError, match=message):
        runtime.launch(engine)


def test_cuda_where_there_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(InputError, match="CUDA was asked for"):
        runtime.launch(Engine(accelerator="cuda"))


@dataclass
class Options:
    """Options of a made-up run."""

    out: Path
    engine: Engine = field(default_factory=lambda: Engine(accelerator="cpu"))


def units(patch: pytest.MonkeyPatch, there: bool) -> None:
    """Makes this machine one with or without bfloat16 units."""
    patch.setattr(runtime, "has_units", lambda device_type: there)
    patch.setattr(bfloat16, "has_units", lambda device_type: there)
    patch.setattr(bfloat16, "slowdown", lambda device: 46.8)


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
    monkeypatch.setattr(runtime, "has_units", lambda device_type: asked.append(device_type) or device_type == "cuda")
    resolved = [runtime.resolve_precision(Engine(accelerator=name)) for name in ("auto", "cuda", "cpu")]
    assert asked == ["cuda", "cuda", "cpu"]
    assert resolved == ["bf16-mixed", "bf16-mixed", "32-true"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    runtime.resolve_precision(Engine())
    assert asked[-1] == "cpu"
    assert runtime.resolve_precision(Engine(precision="64-true")) == "64-true"


@pytest.mark.parametrize(("there", "precision"), [(True, "bf16-mixed"), (False, "32-true")])
def test_a_run_records_and_keeps_the_precision_it_began_with(
    there: bool, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    units(monkeypatch, there)
    began = Options(tmp_path / "run")
    runtime.claim(began, ())
    assert began.engine.precision == precision
    assert yaml.safe_load((tmp_path / "run/config.yaml").read_text())["engine"]["precision"] == precision
    units(monkeypatch, not there)
    resumed = Options(tmp_path / "run")
    runtime.claim(resumed, ())
    assert resumed.engine.precision == precision
    other = Options(tmp_path / "run", Engine(accelerator="cpu", precision="64-true"))
    with pytest.raises(InputError, match=f"engine.precision = '{precision}' and this one has '64-true'"):
        runtime.claim(other, ())


def test_a_missing_gpu_does_not_decide_the_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(InputError, match="CUDA was asked for"):
        runtime.claim(Options(tmp_path / "run", Engine(accelerator="cuda")), ())
    assert not (tmp_path / "run").exists()


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
    fabric = runtime.launch(Engine(accelerator="cpu", threads=1, precision=precision))
    said = [text for text in capsys.readouterr().err.splitlines() if text.startswith(("precision ", "mug: "))]
    assert said == [line]
    with fabric.autocast():
        assert torch.is_autocast_enabled("cpu") is (computed == "bf16-mixed")


def test_the_progress_line_is_quiet_between_minutes(capsys: pytest.CaptureFixture[str]) -> None:
    clock = iter([0.0, 1.0, 30.0, 61.0, 62.0, 70.0])
    line = runtime.ProgressLine(total=10, now=lambda: next(clock))
    for step in (1, 2, 3, 4, 10):
        line.update(step, "loss 1")
    line.close()
    printed = capsys.readouterr().err.splitlines()
    assert [text.split()[1] for text in printed] == ["3/10", "10/10"]
    assert "left" in printed[0]


def test_the_commit_is_empty_outside_of_git(tmp_path: Path) -> None:
    assert runtime.commit_of(tmp_path) == ""


def test_heavy_packages_wait_until_they_are_needed() -> None:
    code = "import sys, mug.runtime; print(sorted({'lightning', 'tensorboard', 'yaml'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_mixed_precision_does_not_round_what_goes_into_a_model() -> None:
    """Coordinates in a batch need more digits than bfloat16 has."""

    class Keeps(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.seen = x
            return x @ x.T

    fabric = runtime.launch(Engine(accelerator="cpu", precision="bf16-mixed", threads=1))
    model = fabric.setup_module(Keeps())
    with fabric.autocast():
        model(torch.full((2, 2), 1 / 3))
    assert model.seen.dtype == torch.float32 and model.seen[0, 0] == torch.tensor(1 / 3)
