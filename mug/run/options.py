"""Options of the compute engine, optimiser and schedule; importing this module loads no library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mug.errors import InputError

AUTO = "auto"


@dataclass
class Engine:
    """Device, precision and processes of a run, passed to Lightning Fabric."""

    device: str = "auto"
    """`cpu`, `cuda` or `auto`: a GPU if there is one."""
    devices: int = 1
    """Processes per node, one for each device."""
    nodes: int = 1
    """Number of machines that train together."""
    precision: str = AUTO
    """`32-true`, `bf16-mixed`, `bf16-true`, `64-true` or `auto`: bf16-mixed if the device has bfloat16 units, else
    32-true. A run resumes in its original precision. Runs with different numbers of processes agree only in `64-true`:
    rounding differences grow during training."""
    strategy: str = "auto"
    """`auto` (`ddp` if there are several processes) or `ddp`."""
    threads: int | None = None
    """CPU threads per process. Default: all cores. Another number may change the last bits of results."""


@dataclass
class OptimiserOptions:
    """Optimiser."""

    kind: Literal["sgd", "adamw"] = "sgd"
    """`sgd` with momentum, not Nesterov's, or `adamw`."""
    lr: float = 0.03
    """Peak learning rate."""
    weight_decay: float = 5e-4
    """Weight decay of matrices and filters; norms, biases and temperatures do not decay."""
    momentum: float = 0.9
    """Momentum of `sgd`; first beta of `adamw`."""
    clip: float | None = 10.0
    """Largest norm of the gradient; null for no clipping."""


@dataclass
class ScheduleOptions:
    """Learning rate schedule."""

    kind: Literal["cosine", "poly", "exponential", "constant"] = "cosine"
    """Shape of the schedule after the warm-up."""
    warmup: int = 0
    """Steps of linear warm-up from zero."""
    power: float = 0.9
    """Exponent of `poly`."""
    floor: float = 0.0
    """Final rate of `cosine`, `poly` and `exponential`, as a share of the peak; for `exponential` above 0."""
    each_round: bool = False
    """Whether every round has its own schedule; else one schedule spans the run."""

    def __post_init__(self) -> None:
        """Raises `InputError` if a setting is out of range."""
        if self.kind == "exponential" and not self.floor > 0:
            raise InputError(
                f"schedule.floor: {self.floor} is never reached by --schedule.kind exponential; use above 0"
            )
