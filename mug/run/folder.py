"""The folder of a run, with the configuration it was started with."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mug.errors import InputError
from mug.media.files import atomic_path, check_output, is_hidden, remove, remove_partial
from mug.media.plain import read_yaml
from mug.run.engine import check_engine, resolve_precision
from mug.run.options import AUTO
from mug.run.settings import first_difference, to_plain
from mug.run.shard import is_first_process

LONG_TO_MAKE = ("checkpoints", "labels", "pseudo", "flow")
"""Names in a run's folder that are worth keeping of a run that has not begun."""


class RunFolder:
    """The folder of one run; files are written atomically or, like `metrics.csv`, line by line.

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
        self._found: set[str] | None = None

    def claim(self, config: Mapping[str, Any], free: tuple[str, ...] = ()) -> dict[str, Any]:
        """Claims the folder for this run: writes `config.yaml`, or compares with the existing one.

        Args:
            config: The complete options as plain data.
            free: Dotted keys that may change when a run is resumed (its folder, how often it saves).

        Returns:
            The configuration that the run was started with.

        Raises:
            InputError: the folder has a run with another configuration (the message names the first differing key), or
                files that do not belong to a run.
        """
        import yaml

        if self.config.is_file():
            started = self._started()
            difference = first_difference(started, config, free)
            if difference:
                key, old, new = difference
                raise InputError(
                    f"{self.path}: holds a run with {key} = {old!r} and this one has {new!r}; "
                    "give --out another folder, or the run's own settings to go on with it"
                )
            return dict(started)
        if self.path.exists() and not (self.path.is_dir() and all(map(is_hidden, os.listdir(self.path)))):
            raise InputError(f"{self.path}: holds files and no config.yaml, so it is no run; give --out a new folder")
        self._found = set(os.listdir(self.path)) if self.path.is_dir() else set()
        write_text(self.config, yaml.safe_dump(dict(config), sort_keys=False))
        return dict(config)

    @contextmanager
    def kept_if_useful(self) -> Iterator[None]:
        """Context of a run: a new one whose input is refused leaves nothing behind, unless something took long to make.

        Then the same folder is free for the mended command; else the same command goes on.
        """
        try:
            yield
        except InputError:
            new = set(os.listdir(self.path)) - self._found if self._found is not None else set()
            if not new & set(LONG_TO_MAKE):
                for name in new:
                    remove(self.path / name)
            raise

    def recorded(self, *keys: str) -> Any:
        """The value under nested keys in the configuration of the existing run; None without a run or such a key."""
        value: Any = self._started() if self.config.is_file() else None
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        return value

    def _started(self) -> Mapping[str, Any]:
        """The configuration of the existing run."""
        content = read_yaml(self.config)
        if not isinstance(content, dict) or not content:
            raise InputError(f"{self.config}: is no configuration of a run; restore it or choose another folder")
        return content

    def clean(self) -> None:
        """Removes partial writes of a killed process: hidden folders beside the files they were meant to become."""
        remove_partial(self.path.rglob(".*"))


def claim(options: Any, free: tuple[str, ...]) -> RunFolder:
    """Creates a run's folder, or resumes the existing one with its original number of threads and precision.

    Args:
        options: A dataclass with `out` and `engine`, among others; unset threads and precision are filled in.
        free: Dotted keys that may change when a run is resumed.

    Raises:
        InputError: see `check_engine` and `RunFolder.claim`.
    """
    check_engine(options.engine)  # before anything is written
    folder, engine = RunFolder(options.out), options.engine
    if engine.threads is None:
        engine.threads = folder.recorded("engine", "threads") or os.cpu_count() or 1
    if engine.precision == AUTO:
        engine.precision = folder.recorded("engine", "precision") or resolve_precision(engine)
    if is_first_process():
        check_output(folder.path, overwrite=True)
        folder.claim(to_plain(options), free)
        folder.clean()
    return folder


def write_text(path: Path, text: str) -> None:
    """Writes a small file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text)


def commit_of(folder: Path) -> str:
    """The git commit of the code in `folder`, with `+` appended if there are changes; empty outside of git."""
    try:
        _git(folder, "ls-files", "--error-unmatch", "mug/run/folder.py")  # an installed copy may be in another project
        commit = _git(folder, "rev-parse", "HEAD")
        return f"{commit}+" if _git(folder, "status", "--porcelain", "--untracked-files=no") else commit
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    return done.stdout.strip()
