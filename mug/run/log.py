"""Logs of a run in progress: metrics, curves, pictures and a progress line."""

from __future__ import annotations

import csv
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from mug.errors import RunError, is_quiet
from mug.media.files import atomic_path
from mug.run.folder import RunFolder
from mug.run.progress import Pace
from mug.run.under_way import LINE_EVERY_S, UnderWay


class MetricsLog:
    """A CSV file with one line per step, identical digit by digit however often the run was killed.

    The first column is the step. Opening it at step s removes all lines from step s on, and a partial last line.
    """

    def __init__(self, path: Path, columns: Sequence[str], step: int) -> None:
        self._path, self._columns = path, columns
        kept = [row for row in _complete_rows(path)[1:] if int(row[0]) < step]
        with atomic_path(path) as temporary, open(temporary, "w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([columns, *kept])
        self._file = open(path, "a", newline="")  # noqa: SIM115 - stays open as long as the run
        self._writer = csv.writer(self._file, lineterminator="\n")

    def write(self, row: Mapping[str, Any]) -> None:
        """Appends one step; missing columns stay empty.

        Raises:
            RunError: the file was removed; what else is written would be lost, too.
        """
        if not os.fstat(self._file.fileno()).st_nlink:
            raise RunError(f"{self._path}: was removed while the run wrote to it, so the run stops; start it again")
        self._writer.writerow([_digits(row.get(name, "")) for name in self._columns])
        self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def _complete_rows(path: Path) -> list[list[str]]:
    if not path.is_file():
        return []
    text = path.read_text()
    return list(csv.reader(text[: text.rfind("\n") + 1].splitlines()))  # a kill may have truncated the last line


def _digits(value: Any) -> str:
    return f"{value:.9g}" if isinstance(value, float) else str(value)  # nine digits represent a float32 exactly


class ProgressLine:
    """A progress line: rewritten in place on a terminal, a message every 30 s elsewhere, also in the middle of a step.

    Args:
        step: Number of steps that are done.
        total: Number of steps of the whole run.
    """

    def __init__(self, step: int, total: int) -> None:
        self.total = total
        self._terminal = sys.stderr.isatty() and not is_quiet()
        self._pace = Pace(total)
        self._printed = time.monotonic()
        self._work = UnderWay(f"step {step}/{total}")
        if self._terminal:
            self._show(f"step {step}/{total}")

    def update(self, step: int, text: str) -> None:
        """Shows that `step` steps are done; `text` goes in the middle."""
        now, rate = time.monotonic(), self._pace.rate(step)
        self._work.at(f"step {step}/{self.total}")
        if now - self._printed < (0.2 if self._terminal else LINE_EVERY_S) and step < self.total:
            return
        self._printed = now
        speed = "" if rate is None else f"{rate:.2f} steps/s"
        line = "  ".join(filter(None, (f"step {step}/{self.total}", text, speed, self._pace.left(step, rate))))
        if self._terminal:
            self._show(line)
        else:
            self._work.say(line)

    def _show(self, line: str) -> None:
        print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Ends the line, which stays visible."""
        self._work.close()
        if self._terminal:
            print(file=sys.stderr)


class Log:
    """All logs of a run: `metrics.csv`, `timing.csv`, TensorBoard events, pictures and the progress line.

    Args:
        folder: Folder of the run.
        columns: Columns of `metrics.csv`, the step first.
        step: Number of completed steps; entries of later ones are removed.
        steps: Number of steps of the whole run.
        on: Whether this process writes; others do nothing.
    """

    def __init__(self, folder: RunFolder, columns: Sequence[str], step: int, steps: int, on: bool) -> None:
        self._pictures = folder.pictures
        self._on = on
        self._began = time.perf_counter()
        if on:
            self._metrics = MetricsLog(folder.metrics, columns, step)
            self._timing = MetricsLog(folder.timing, ("step", "seconds"), step)
            self._events = open_events(folder.path / "events", step)
            self._line = ProgressLine(step, steps)

    def __enter__(self) -> Log:
        self._began = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        if self._on:
            for part in (self._metrics, self._timing, self._line, self._events):
                if part is not None:
                    part.close()

    def write(self, row: Mapping[str, Any], text: str) -> None:
        """Adds a step; `text` goes into the progress line."""
        if not self._on:
            return
        now = time.perf_counter()
        self._metrics.write(row)
        self._timing.write({"step": row["step"], "seconds": now - self._began})
        self._began = now
        if self._events is not None:
            for name, value in row.items():
                if name != "step":
                    self._events.add_scalar(name, value, row["step"])
        self._line.update(row["step"] + 1, text)

    def draw(self, step: int, pictures: Mapping[str, Tensor]) -> None:
        """Adds pictures (3, H, W) in [0, 1] by name: `pictures/<step>_<name>.png`."""
        if not self._on:
            return
        for name, picture in pictures.items():
            pixels = (picture.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
            with atomic_path(self._pictures / f"{step:07d}_{name}.png") as temporary:
                Image.fromarray(np.ascontiguousarray(pixels)).save(temporary)
            if self._events is not None:
                self._events.add_image(name, picture.clamp(0, 1), step)


def open_events(folder: Path, step: int) -> Any:
    """A TensorBoard writer that replaces events from `step` on, or None if tensorboard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=step)
