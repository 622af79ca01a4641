"""Quick checks of weights without result masks: video retrieval and the linear probe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from downstream.backbones.device import choose_device
from downstream.data.dataset import Kind
from downstream.data.kinds import open_videos
from downstream.scoring.probe import linear_probe
from downstream.scoring.tables import Table
from downstream.training.annotated import open_annotated
from mug.checkpoint import load_weights
from mug.model import MuG
from mug.retrieval import CLIPS, retrieval


def measure_retrieval(
    videos: Path, weights: Path | None, kind: Kind | None, split: str | None
) -> tuple[dict[str, Any], Table]:
    """Retrieval of clips of the same video by pooled r (`mug.retrieval`); arguments as in `open_videos`.

    Raises:
        InputError: the videos or weights cannot be used.
    """
    found = retrieval(_model(weights), open_videos(videos, kind, split))
    rows = [("nearest clip", found.recall), (f"nearest {CLIPS - 1} clips", found.precision), ("chance", found.chance)]
    table = Table(
        "clips whose neighbours are of their own video, per cent", ("", "share"), [rows], [f"{found.clips} clips"]
    )
    return {"task": "retrieval", "gt": str(videos), "weights": _said(weights), **found._asdict()}, table


def measure_probe(
    videos: Path, weights: Path | None, kind: Kind | None, split: str | None
) -> tuple[dict[str, Any], Table]:
    """Linear foreground classification on frozen features (`downstream.scoring.probe`).

    Arguments as in `open_annotated`.

    Raises:
        InputError: the videos or weights cannot be used.
    """
    found = linear_probe(_model(weights).phi, open_annotated(videos, kind, split))
    rows = [
        ("average precision", found.average_precision),
        ("the same by chance", found.chance),
        ("mean J", found.jaccard),
    ]
    table = Table("linear probe, per cent", ("", "cells"), [rows], [f"tested on {', '.join(found.tested)}"])
    return {"task": "probe", "gt": str(videos), "weights": _said(weights), **found._asdict()}, table


def _model(weights: Path | None) -> MuG:
    model, _ = load_weights(weights)
    return model.to(torch.device(choose_device("auto"))).eval()


def _said(weights: Path | None) -> str | None:
    return None if weights is None else str(weights)
