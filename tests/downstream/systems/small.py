"""What makes each system small enough for a test: options for `mug finetune`, `mug segment` and `mug propagate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

TRUNK = ("backbone.stages=2", "backbone.stride=8")
"""Of phi with two groups, which the fixture `phi` writes weights of."""

TRAINING: Mapping[str, Sequence[str]] = {
    "agnn": (
        *(f"--model.embedding.{word}" for word in TRUNK),
        "--model.embedding.rates=[1,2,3]",
        "--model.channels=8",
        "--model.iterations=1",
    ),
    "cosnet": (
        *(f"--model.trunk.{word}" for word in TRUNK),
        "--model.trunk.rates=[1,2,3]",
        "--model.channels=8",
    ),
    "rvos, zero-shot": (
        *(f"--model.trunk.{word}" for word in TRUNK),
        "--model.task=zero-shot",
        "--model.hidden=8",
        "--objects=3",
    ),
    "rvos, one-shot": (*(f"--model.trunk.{word}" for word in TRUNK), "--model.hidden=8", "--objects=3"),
    "agame": (
        *(f"--model.trunk.{word}" for word in TRUNK),
        "--model.channels=6",
        "--model.width=8",
        "--model.fine=8",
        "--sample.nodes=3",
    ),
    "hcpn": (
        *(f"--model.trunk.{word}" for word in TRUNK),
        "--model.rates=[1,2,3]",
        "--model.channels=8",
        "--model.stacks=2",
    ),
}
"""By system, beside `BRIEFLY`."""

BRIEFLY = (
    "--sample.size=32", "--workers=0", "--save_every=2", "--engine.device=cpu", "--engine.threads=1",
    "--engine.precision=32-true", "--optimiser.kind=adamw", "--optimiser.lr=1e-3",
)  # fmt: skip
"""Any system's training."""
