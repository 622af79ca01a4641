"""The run: its engine, its folder, its log and its checkpoints. Nothing here knows what is being learned."""

from __future__ import annotations

import csv
import dataclasses
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mug.bfloat16 import describe, has_units
from mug.errors import InputError
from mug.files import atomic_path

if TYPE_CHECKING:
    from lightning.fabric import Fabric

AUTO = "auto"
PRECISIONS = (AUTO, "32-true", "64-true", "bf16-mixed", "bf16-true")
STRATEGIES = ("auto", "ddp")
KEPT_CHECKPOINTS = 2
LINE_EVERY_S = 60.0  # how often a run that nobody watches says where it is


@dataclass
class Engine:
    """Where and how a run computes; all of it is handed to Lightning Fabric."""

    accelerator: str = "auto"
    """`cpu`, `cuda` or `auto`: a GPU where there is one."""
    devices: int = 1
    """Processes on each node, one for each device."""
    nodes: int = 1
    """Machines that train together."""
    precision: str = AUTO
    """`32-true`, `bf16-mixed`, `bf16-true`, `64-true` or `auto`: bf16-mixed where the device has bfloat16 units,
    32-true elsewhere. A run resumes in the precision it began with. Runs with different numbers of processes agree
    only in `64-true`: rounding differences grow during training."""
    strategy: str = "auto"
    """`auto` (one process, or `ddp` when there are several) or `ddp`."""
    threads: int | None = None
    """CPU threads a process computes with; all cores when not given. Another count may change the last bits."""


def launch(engine: Engine) -> Fabric:
    """Starts the engine (and, where several are asked for, its processes) and returns it.

    One line on standard error says the device and the precision, and warns where bfloat16 is emulated.

    Raises:
        InputError: a precision, strategy or accelerator that does not exist, or that this machine has not.
    """
    _check_engine(engine)
    precision = resolve_precision(engine)
    from lightning.fabric import Fabric
    from lightning.fabric.plugins import MixedPrecision

    class Mixed(MixedPrecision):
        """Leaves what goes into a model as it is, for autocast to round where that does no harm.

        Lightning rounds every floating tensor of a batch, known warps and coordinates with them: an eighth of a cell on
        a grid of 64.
        """

        def convert_input(self, data: Any) -> Any:
            return data

    threads = engine.threads or os.cpu_count() or 1
    torch.set_num_threads(threads)
    fabric = Fabric(
        accelerator=engine.accelerator,
        devices=engine.devices,
        num_nodes=engine.nodes,
        # the 32-bit precisions have no plugin of their own here
        precision=None if precision.endswith("mixed") else precision,  # type: ignore[arg-type]
        plugins=[Mixed(precision, _device_type(engine))] if precision.endswith("mixed") else [],  # type: ignore[arg-type]
        strategy=_strategy(engine),
    )
    fabric.launch()
    if fabric.device.type == "cuda":
        torch.backends.cudnn.benchmark = True  # shapes stay the same from step to step
    else:
        # a killed and restarted run has to repeat the undisturbed one to the last bit
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.set_num_threads(threads)  # the launcher sets its own count for several processes
    if fabric.is_global_zero:
        print(describe(precision, fabric.device), file=sys.stderr, flush=True)
    return fabric


def resolve_precision(engine: Engine) -> str:
    """The engine's precision, with `auto` decided for this machine.

    Raises:
        InputError: see `launch`.
    """
    if engine.precision != AUTO:
        return engine.precision
    _check_engine(engine)  # a device that is missing must not decide
    return "bf16-mixed" if has_units(_device_type(engine)) else "32-true"


def _device_type(engine: Engine) -> str:
    wants_gpu = engine.accelerator == "cuda" or (engine.accelerator == "auto" and torch.cuda.is_available())
    return "cuda" if wants_gpu else "cpu"


def _check_engine(engine: Engine) -> None:
    for name, value, known in (
        ("engine.accelerator", engine.accelerator, ("auto", "cpu", "cuda")),
        ("engine.precision", engine.precision, PRECISIONS),
        ("engine.strategy", engine.strategy, STRATEGIES),
    ):
        if value not in known:
            raise InputError(f"{name}: {value!r} is not known; use one of {', '.join(known)}")
    for name, count in (("devices", engine.devices), ("nodes", engine.nodes), ("threads", engine.threads)):
        if count is not None and count < 1:
            raise InputError(f"engine.{name}: {count} is too few; give 1 or more")
    if engine.accelerator == "cuda":
        found = torch.cuda.device_count()
        if found < engine.devices:
            raise InputError(
                f"engine.accelerator: CUDA was asked for on {engine.devices} device(s) and {found} can be used here; "
                "give --engine.accelerator cpu, or install a torch built for this GPU (`mug doctor` explains)"
            )


def _strategy(engine: Engine) -> Any:
    """DDP by its own class: the others wait while one computes priors, and that outlasts the usual 30 minutes."""
    if engine.strategy == "auto" and engine.devices * engine.nodes == 1:
        return "auto"
    from lightning.fabric.strategies import DDPStrategy

    return DDPStrategy(timeout=timedelta(days=1))


class RunFolder:
    """The folder of one run; every file in it appears by rename or, as `metrics.csv`, line by line.

    Attributes:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.metrics = path / "metrics.csv"
        self.timing = path / "timing.csv"
        self.checkpoints = path / "checkpoints"
        self.labels = path / "labels"
        self.pictures = path / "pictures"
        self.weights = path / "phi.safetensors"

    def claim(self, config: Mapping[str, Any], free: tuple[str, ...] = ()) -> dict[str, Any]:
        """Makes the folder this run's, or checks that it is: writes `config.yaml`, or compares with the one there.

        Args:
            config: The complete options as plain data.
            free: Dotted keys that may differ when a run goes on (where it lies, how often it saves).

        Returns:
            The configuration that the run started with.

        Raises:
            InputError: the folder holds a run of another configuration (the first differing key is named), or files
                that are no run's.
        """
        import yaml

        if self.config.is_file():
            started = yaml.safe_load(self.config.read_text()) or {}
            difference = first_difference(started, config, free)
            if difference:
                key, old, new = difference
                raise InputError(
                    f"{self.path}: holds a run with {key} = {old!r} and this one has {new!r}; "
                    "give --out another folder, or the run's own settings to go on with it"
                )
            return started
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise InputError(f"{self.path}: holds files and no config.yaml, so it is no run; give --out a new folder")
        self.path.mkdir(parents=True, exist_ok=True)
        write_text(self.config, yaml.safe_dump(dict(config), sort_keys=False))
        return dict(config)

    def recorded(self, *keys: str) -> Any:
        """What the run that lies here was started with under nested keys; None where there is no run or no such key."""
        import yaml

        value = yaml.safe_load(self.config.read_text()) if self.config.is_file() else None
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        return value

    def clean(self) -> None:
        """Removes what a killed process left half-written: hidden folders beside what they were to become."""
        for holder in [path for path in self.path.rglob(".*") if path.is_dir()]:
            shutil.rmtree(holder, ignore_errors=True)


def claim(options: Any, free: tuple[str, ...]) -> RunFolder:
    """Makes a run's folder, or takes up the one there with the number of threads and the precision it began with.

    Args:
        options: A dataclass with `out` and `engine`, besides what is learned; threads and precision that are left open
            are filled in.
        free: Dotted keys that may differ when a run goes on.

    Raises:
        InputError: see `resolve_precision` and `RunFolder.claim`.
    """
    folder, engine = RunFolder(options.out), options.engine
    if engine.threads is None:
        engine.threads = folder.recorded("engine", "threads") or os.cpu_count() or 1
    if engine.precision == AUTO:
        engine.precision = folder.recorded("engine", "precision") or resolve_precision(engine)
    if int(os.environ.get("LOCAL_RANK", 0)) == int(os.environ.get("NODE_RANK", 0)) == 0:
        folder.claim(to_plain(options), free)
        folder.clean()
    return folder


def write_text(path: Path, text: str) -> None:
    """Writes a small file by rename."""
    with atomic_path(path) as temporary:
        temporary.write_text(text)


def to_plain(options: Any) -> Any:
    """A dataclass of options as plain data: dictionaries, lists, numbers, text."""
    if dataclasses.is_dataclass(options) and not isinstance(options, type):
        return {field.name: to_plain(getattr(options, field.name)) for field in dataclasses.fields(options)}
    if isinstance(options, Mapping):
        return {str(key): to_plain(value) for key, value in options.items()}
    if isinstance(options, list | tuple):
        return [to_plain(value) for value in options]
    return str(options) if isinstance(options, Path) else options


def first_difference(
    old: Mapping[str, Any], new: Mapping[str, Any], free: tuple[str, ...] = (), prefix: str = ""
) -> tuple[str, Any, Any] | None:
    """The first key (dotted) whose value differs, with both values; keys in `free` may differ."""
    for key in dict.fromkeys((*old, *new)):
        name = f"{prefix}{key}"
        if name in free:
            continue
        a, b = old.get(key), new.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found = first_difference(a, b, free, f"{name}.")
            if found:
                return found
        elif a != b:
            return name, a, b
    return None


class MetricsLog:
    """A CSV file with a line a step, digit for digit the same however often the run was killed.

    The first column is the step. Opening it for step s cuts everything from step s on, and a half-written line.
    """

    def __init__(self, path: Path, columns: Sequence[str], step: int) -> None:
        self._columns = columns
        kept = [row for row in _complete_rows(path)[1:] if int(row[0]) < step]
        with atomic_path(path) as temporary, open(temporary, "w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([columns, *kept])
        self._file = open(path, "a", newline="")  # noqa: SIM115 - stays open as long as the run
        self._writer = csv.writer(self._file, lineterminator="\n")

    def write(self, row: Mapping[str, Any]) -> None:
        """Appends one step; what it lacks stays empty."""
        self._writer.writerow([_digits(row.get(name, "")) for name in self._columns])
        self._file.flush()

    def close(self) -> None:
        """Ends the log."""
        self._file.close()


def _complete_rows(path: Path) -> list[list[str]]:
    if not path.is_file():
        return []
    text = path.read_text()
    return list(csv.reader(text[: text.rfind("\n") + 1].splitlines()))  # a kill may have cut the last line


def _digits(value: Any) -> str:
    return f"{value:.9g}" if isinstance(value, float) else str(value)  # nine digits give back a float32 exactly


class Checkpoints:
    """The last checkpoints of a run: tensors and plain data, written by rename, loaded with `weights_only=True`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _all(self) -> list[Path]:
        found = [path for path in self.folder.glob("step*.pt") if re.fullmatch(r"step\d+\.pt", path.name)]
        return sorted(found, key=lambda path: int(path.stem.removeprefix("step")))

    def latest_step(self) -> int | None:
        """Steps done at the newest checkpoint."""
        found = self._all()
        return int(found[-1].stem.removeprefix("step")) if found else None

    def save(self, step: int, state: Mapping[str, Any]) -> Path:
        """Writes the state after `step` steps and drops all but the last two."""
        path = self.folder / f"step{step:07d}.pt"
        with atomic_path(path) as temporary:
            torch.save(dict(state), temporary)
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())  # the rename must not reach the disk before the content
        for old in self._all()[:-KEPT_CHECKPOINTS]:
            old.unlink(missing_ok=True)
        return path

    def load(self) -> dict[str, Any] | None:
        """The newest state that can be read, or None where there is none.

        Raises:
            InputError: there are checkpoints and none of them can be read.
        """
        found = self._all()
        for path in reversed(found):
            try:
                return torch.load(path, map_location="cpu", weights_only=True)
            except Exception as error:
                # a disk can lose what a rename promised: the one before it is as good, a few steps earlier
                print(f"mug: {path}: cannot be read ({type(error).__name__}); trying the one before", file=sys.stderr)
        if found:
            raise InputError(f"{self.folder}: no checkpoint can be read; remove the folder to start the run again")
        return None


class ProgressLine:
    """One line that says where the run is: rewritten in place at a terminal, printed every minute elsewhere."""

    def __init__(self, total: int, first: int = 0, now: Callable[[], float] = time.monotonic) -> None:
        self.total = total
        self._now = now
        self._terminal = sys.stderr.isatty()
        self._start, self._first = now(), first
        self._printed = self._start

    def update(self, step: int, text: str) -> None:
        """Says that `step` steps are done; `text` goes in the middle."""
        now = self._now()
        if now - self._printed < (0.2 if self._terminal else LINE_EVERY_S) and step < self.total:
            return
        self._printed = now
        rate = (step - self._first) / max(now - self._start, 1e-9)
        left = timedelta(seconds=round((self.total - step) / max(rate, 1e-9)))
        line = f"step {step}/{self.total}  {text}  {rate:.2f} steps/s  {left} left"
        if self._terminal:
            print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leaves the line standing."""
        if self._terminal:
            print(file=sys.stderr)


def open_events(folder: Path, step: int) -> Any:
    """A TensorBoard writer that replaces events from `step` on, or None where tensorboard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=step)


def commit_of(folder: Path) -> str:
    """The git commit of the code in `folder`, `+` appended when it was changed since; empty outside of git."""
    try:
        _git(folder, "ls-files", "--error-unmatch", "mug/runtime.py")  # an installed copy may lie in another project
        commit = _git(folder, "rev-parse", "HEAD")
        return f"{commit}+" if _git(folder, "status", "--porcelain", "--untracked-files=no") else commit
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    return done.stdout.strip()


def free_memory(device: torch.device) -> int:
    """Bytes that can still be taken on a device."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
