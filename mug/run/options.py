"""How a run computes and how weights are moved: options, which load no library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

AUTO = "auto"


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


@dataclass
class OptimiserOptions:
    """How the weights are moved."""

    kind: Literal["sgd", "adamw"] = "sgd"
    """`sgd` with Nesterov-free momentum, or `adamw`."""
    lr: float = 0.03
    """Highest learning rate."""
    weight_decay: float = 5e-4
    """Decay of matrices and filters; norms, biases and temperatures do not decay."""
    momentum: float = 0.9
    """Momentum of `sgd`; first beta of `adamw`."""
    clip: float | None = 10.0
    """Largest norm of the gradient; null does not clip."""


@dataclass
class ScheduleOptions:
    """How the learning rate changes over the run."""

    kind: Literal["cosine", "poly", "constant"] = "cosine"
    """What the rate does after its warm-up."""
    warmup: int = 0
    """Steps over which the rate rises from zero."""
    power: float = 0.9
    """Exponent of `poly`."""
    floor: float = 0.0
    """Share of the highest rate that `cosine` and `poly` end at."""
    each_round: bool = False
    """Whether every round has a schedule of its own, or one spans the run."""
