"""What the commands gave once, on synthetic videos and seeded weights: recorded, and compared after every change.

    python tests/golden/record.py     # writes golden.json anew: after a change that is meant to change results

A mask is kept as the share of foreground in 8 x 12 cells, a digit each, and the areas of its objects: kilobytes for all
of them, and close where processors round otherwise.
"""

from __future__ import annotations

import csv
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from PIL import Image

from agnn_head.checkpoint import save_weights as save_agnn
from agnn_head.model import AGNN
from agnn_head.options import AGNNConfig
from mug.checkpoint import save_weights
from mug.cli import main
from mug.model import MuG
from mug.options import BackboneConfig, ModelConfig

FILE = Path(__file__).with_name("golden.json")
GRID = (8, 12)
BACKBONE = BackboneConfig(depth=18, stages=2, stride=8)
ENGINE = ("--engine.device", "cpu", "--engine.threads", "1", "--engine.precision", "32-true", "--workers", "0")


def run(*words: object) -> None:
    """A command, as typed."""
    assert main([str(word) for word in words]) == 0, words


def masks(folder: Path) -> dict[str, str]:
    """Every mask below a folder: its cells and the areas of its objects."""
    found = {}
    for path in sorted(folder.rglob("*.png")):
        mask = np.asarray(Image.open(path))
        shares = np.array(
            [[c.mean() for c in np.array_split(r, GRID[1], 1)] for r in np.array_split(mask > 0, GRID[0])]
        )
        digits = "".join(str(int(round(9 * share))) for share in shares.ravel())
        areas = [f"{(mask == i).mean():.4f}" for i in range(1, int(mask.max()) + 1)]
        found[str(path.relative_to(folder))] = " ".join([digits, *areas])
    return found


def column(run_folder: Path, name: str) -> list[float]:
    """The first five values of a column of `metrics.csv`."""
    with (run_folder / "metrics.csv").open() as file:
        return [float(row[name]) for row in csv.DictReader(file)][:5]


def measure(place: Path) -> dict[str, Any]:
    """Everything, made in an empty folder."""
    videos, groups, phi, agnn = (
        place / "videos",
        place / "groups",
        place / "phi.safetensors",
        place / "agnn.safetensors",
    )
    run("synth", videos, "--videos", 3, "--frames", 6, "--height", 64, "--width", 96, "--objects", 2, "--seed", 3)
    run("synth-groups", groups, "--groups", 2, "--images", 4, "--size", 64, "--seed", 3)
    torch.manual_seed(0)
    save_weights(phi, MuG(ModelConfig(backbone=BACKBONE)).eval(), {})
    torch.manual_seed(0)
    small = AGNNConfig(channels=8, iterations=1)
    small.embedding.backbone, small.embedding.rates = BACKBONE, [1, 2, 3]
    save_agnn(agnn, AGNN(small).eval(), {})
    found: dict[str, Any] = {}
    cpu = ("--device", "cpu", "--weights")
    commands: dict[str, tuple[object, ...]] = {
        "propagate": ("propagate", videos, *cpu, phi, "--size", 64),
        "propagate, matching alone": ("propagate", videos, *cpu, phi, "--size", 64, "--evidence", "none"),
        "segment": ("segment", videos, *cpu, phi, "--size", 64),
        "segment, paper": ("segment", videos, *cpu, phi, "--size", 64, "--mode", "paper"),
        "segment, agnn": ("segment", videos, *cpu, agnn, "--system", "agnn", "--graph.side", 64),
        "cosegment": ("cosegment", groups, *cpu, agnn, "--size", 64),
    }
    for name, words in commands.items():
        out = place / name.replace(", ", "-").replace(" ", "-")
        run(*words, "--out", out)
        found[name] = masks(out)
    scores = place / "scores.json"
    run("evaluate", "--task", "one-shot", "--gt", videos, "--pred", place / "propagate", "--out", scores)
    table = json.loads(scores.read_text())
    found["scores"] = {key: table[key]["mean"] for key in ("J", "F", "T_all", "J&F")}
    trained = (*ENGINE, "--optimiser.kind", "adamw", "--optimiser.lr", 1e-3)
    layers = ("backbone.stages", 2, "backbone.stride", 8)
    run(
        "pretrain", "--videos", videos / "JPEGImages" / "480p", "--out", place / "pretrained", *trained,
        *(f"--model.{layers[0]}={layers[1]}", f"--model.{layers[2]}={layers[3]}", "--sample.size=32"),
        *("--sample.abstract=2", "--batch=2", "--rounds=[5]", "--loss.warp=0.5", "--bootstrap.stride=2"),
        *("--retrieval_every=0", "--picture_every=0"),
    )  # fmt: skip
    run(
        "finetune", "agnn", "--data", videos, "--weights", phi, "--out", place / "finetuned", *trained, "--steps=5",
        *(f"--model.embedding.{layers[0]}={layers[1]}", f"--model.embedding.{layers[2]}={layers[3]}"),
        *("--model.embedding.rates=[1,2,3]", "--model.channels=8", "--model.iterations=1", "--sample.size=32"),
    )  # fmt: skip
    found["losses"] = {
        "pretrain": column(place / "pretrained", "total"),
        "finetune": column(place / "finetuned", "video"),
    }
    found["gradients"] = {name: column(place / name, "grad_norm")[0] for name in ("pretrained", "finetuned")}
    return found


def record(write: Callable[[str], object]) -> None:
    """Measures and writes."""
    with tempfile.TemporaryDirectory() as folder:
        write(json.dumps(measure(Path(folder)), indent=1) + "\n")


if __name__ == "__main__":
    record(FILE.write_text)
    print(FILE, file=sys.stderr)
