"""Compute engine of a run: Lightning Fabric, with a precision that suits the device."""

from __future__ import annotations

import logging
import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mug.errors import InputError, logger
from mug.precision import has_units, precision_in_words
from mug.run.options import AUTO, Engine
from mug.run.shard import process_rank

if TYPE_CHECKING:
    from lightning.fabric import Fabric

PRECISIONS = (AUTO, "32-true", "64-true", "bf16-mixed", "bf16-true")
STRATEGIES = ("auto", "ddp")
SLURM_BY_HAND = ("bash", "interactive")
"""Names of SLURM jobs in which Lightning starts the processes itself."""


def launch(engine: Engine) -> Fabric:
    """Starts the engine (and its processes, if there are several) and returns it.

    One line on standard error gives the device and the precision, with a warning if bfloat16 is emulated.

    Raises:
        InputError: see `check_engine`.
    """
    check_engine(engine)
    precision = resolve_precision(engine)
    from lightning.fabric import Fabric
    from lightning.fabric.plugins import MixedPrecision

    class Mixed(MixedPrecision):
        """Does not convert the inputs of a model; autocast rounds only where that is harmless.

        Lightning would round every floating-point tensor of a batch, including known warps and coordinates: an error of
        an eighth of a cell on a grid of 64.
        """

        def convert_input(self, data: Any) -> Any:
            return data

    threads = engine.threads or os.cpu_count() or 1
    torch.set_num_threads(threads)
    fabric = Fabric(
        accelerator=engine.device,
        devices=engine.devices,
        num_nodes=engine.nodes,
        # the 32-bit precisions have no plugin of their own here
        precision=None if precision.endswith("mixed") else precision,  # type: ignore[arg-type]
        plugins=[Mixed(precision, _device_type(engine))] if precision.endswith("mixed") else [],  # type: ignore[arg-type]
        strategy=_strategy(engine),
    )
    fabric.launch()
    if fabric.device.type == "cuda":
        torch.backends.cudnn.benchmark = True  # shapes are the same in every step
    else:
        # a killed and resumed run must match an uninterrupted one bit by bit
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.set_num_threads(threads)  # with several processes the launcher sets its own number
    if fabric.is_global_zero:
        emulated = precision.startswith("bf16") and not has_units(fabric.device.type)
        logger.log(logging.WARNING if emulated else logging.INFO, precision_in_words(precision, fabric.device))
    return fabric


def resolve_precision(engine: Engine) -> str:
    """The engine's precision, with `auto` resolved for this machine.

    Raises:
        InputError: see `launch`.
    """
    if engine.precision != AUTO:
        return engine.precision
    check_engine(engine)  # a missing device must not determine the precision
    return "bf16-mixed" if has_units(_device_type(engine)) else "32-true"


def _device_type(engine: Engine) -> str:
    wants_gpu = engine.device == "cuda" or (engine.device == "auto" and torch.cuda.is_available())
    return "cuda" if wants_gpu else "cpu"


def check_engine(engine: Engine) -> None:
    """Checks that an engine can be started here.

    Raises:
        InputError: the precision, strategy or accelerator is unknown or not available on this machine, or a launcher
            has started another number of processes.
    """
    for name, value, known in (
        ("engine.device", engine.device, ("auto", "cpu", "cuda")),
        ("engine.precision", engine.precision, PRECISIONS),
        ("engine.strategy", engine.strategy, STRATEGIES),
    ):
        if value not in known:
            raise InputError(f"{name}: {value!r} is not known; use one of {', '.join(known)}")
    for name, count in (("devices", engine.devices), ("nodes", engine.nodes), ("threads", engine.threads)):
        if count is not None and count < 1:
            raise InputError(f"engine.{name}: {count} is too few; give 1 or more")
    if engine.device == "cuda":
        found = torch.cuda.device_count()
        if found < engine.devices:
            raise InputError(
                f"engine.device: CUDA was asked for on {engine.devices} device(s) and {found} can be used here; "
                "give --device cpu, or install a torch built for this GPU (`mug doctor` explains)"
            )
    _check_launcher(engine)


def _check_launcher(engine: Engine) -> None:
    """Rejects other numbers of processes than torchrun or srun has started: they would train alone, or wait forever."""
    asked, rank = engine.devices * engine.nodes, process_rank()
    if rank is None:
        if asked > 1 and "SLURM_NTASKS" in os.environ and os.environ.get("SLURM_JOB_NAME") not in SLURM_BY_HAND:
            raise InputError(
                f"engine.devices: {asked} processes in a SLURM job are started by srun; give `srun "
                f"--ntasks-per-node={engine.devices} --nodes={engine.nodes}` before the command"
            )
        return
    if rank.count != asked:
        here = "LOCAL_WORLD_SIZE" if rank.source == "RANK" else "SLURM_NTASKS_PER_NODE"
        nodes = max(1, rank.count // int(os.environ.get(here) or rank.count))
        raise InputError(
            f"engine.devices: {rank.count} processes were started ({rank.source}) and the engine is for {asked}; give "
            f"--engine.devices {rank.count // nodes} --engine.nodes {nodes}"
        )
    if rank.count > 1 and rank.source != "RANK" and "SLURM_NTASKS_PER_NODE" not in os.environ:
        raise InputError(
            f"engine.devices: SLURM started {rank.count} tasks without saying how many on a node; give srun "
            f"--ntasks-per-node={engine.devices} instead of --ntasks"
        )


def _strategy(engine: Engine) -> Any:
    """DDP with a longer timeout: the others wait while one process computes priors, longer than the default 30 min."""
    if engine.strategy == "auto" and engine.devices * engine.nodes == 1:
        return "auto"
    from lightning.fabric.strategies import DDPStrategy

    return DDPStrategy(timeout=timedelta(days=1))


def free_memory(device: torch.device) -> int:
    """Free memory of a device in bytes."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
