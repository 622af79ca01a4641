"""What fine-tuning leaves to look at: its numbers and pictures of its batches."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mug.media.overlay import blend
from mug.run.folder import RunFolder
from mug.run.log import MetricsLog, ProgressLine

COLUMNS = ("step", "lr", "still", "video", "iou", "grad_norm")
"""Of `metrics.csv`: the loss of a step on still images or on video, and how well its masks overlap the truth."""


def draw(path: Path, batch: dict[str, Any], logits: Tensor) -> None:
    """A row for the truth and one for the prediction over the frames of a batch.

    Args:
        path: Of the picture.
        batch: As `downstream.training.samples.collate` makes it.
        logits: (B * N', 1, h, w), a prediction for each frame.
    """
    from torchvision.utils import make_grid, save_image

    frames, masks = batch["frames"].flatten(0, 1), batch["masks"].flatten(0, 1)
    found = nn.functional.interpolate(logits.float().cpu(), size=frames.shape[-2:], mode="bilinear")[:, 0] > 0
    rows: Sequence[Tensor] = [masks == 1, found]
    painted = [
        torch.from_numpy(blend(frame.permute(1, 2, 0).numpy(), mask.byte().numpy())).permute(2, 0, 1) / 255
        for row in rows
        for frame, mask in zip(frames, row, strict=True)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    save_image(make_grid(painted, nrow=len(frames)), path)


class Log:
    """What a run leaves to read: `metrics.csv`, `timing.csv` and the progress line.

    Args:
        folder: Of the run.
        step: Steps done; what was written of later ones is cut off.
        steps: Of the whole run.
        on: Whether this process writes; others do nothing.
    """

    def __init__(self, folder: RunFolder, step: int, steps: int, on: bool) -> None:
        self._on = on
        self._began = time.perf_counter()
        if on:
            self._metrics = MetricsLog(folder.metrics, COLUMNS, step)
            self._timing = MetricsLog(folder.timing, ("step", "seconds"), step)
            self._line = ProgressLine(steps, step)

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        if self._on:
            for part in (self._metrics, self._timing, self._line):
                part.close()

    def write(self, row: dict[str, Any]) -> None:
        """Adds a step."""
        if not self._on:
            return
        now = time.perf_counter()
        self._metrics.write(row)
        self._timing.write({"step": row["step"], "seconds": now - self._began})
        self._began = now
        self._line.update(row["step"] + 1, f"J {row['iou']:.3f}")
