"""Checkpoints of a run, for exact resumption."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mug.errors import InputError, logger
from mug.media.files import atomic_path
from mug.networks.tensors import refuse_inflated

KEPT_CHECKPOINTS = 2


class Checkpoints:
    """The last checkpoints of a run: tensors and plain data, written atomically, loaded with `weights_only=True`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _all(self) -> list[Path]:
        found = [path for path in self.folder.glob("step*.pt") if re.fullmatch(r"step\d+\.pt", path.name)]
        return sorted(found, key=lambda path: int(path.stem.removeprefix("step")))

    def latest_step(self) -> int | None:
        """Number of completed steps at the latest checkpoint; None if there is none."""
        found = self._all()
        return int(found[-1].stem.removeprefix("step")) if found else None

    def save(self, step: int, state: Mapping[str, Any]) -> Path:
        """Writes the state after `step` steps and deletes all but the last two."""
        path = self.folder / f"step{step:07d}.pt"
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            try:
                torch.save(dict(state), file)
            except RuntimeError as error:
                if isinstance(error.__context__, OSError):  # a full disk, for example
                    raise error.__context__ from None
                raise
            file.flush()
            os.fsync(file.fileno())  # the rename must not reach the disk before the content
        for old in self._all()[:-KEPT_CHECKPOINTS]:
            old.unlink(missing_ok=True)
        logger.debug("%s: is written", path)
        return path

    def load(self) -> dict[str, Any] | None:
        """The latest readable state, or None if there are no checkpoints.

        Raises:
            InputError: there are checkpoints, but none is readable.
        """
        found = self._all()
        for path in reversed(found):
            try:
                refuse_inflated(path)
                return torch.load(path, map_location="cpu", weights_only=True)
            except Exception as error:
                # a disk may lose data despite the rename; the previous checkpoint only costs a few steps
                logger.warning("%s: cannot be read (%s); trying the one before", path, type(error).__name__)
        if found:
            raise InputError(f"{self.folder}: no checkpoint can be read; remove the folder to start the run again")
        return None
