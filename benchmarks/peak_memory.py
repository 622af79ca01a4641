"""How much memory a measurement took; each runs in a process of its own."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path

import torch


def peak_memory(device: str) -> float:
    """Most memory so far in MiB: resident in this process on `cpu`, else allocated on the GPU."""
    if device == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return torch.cuda.max_memory_allocated() / 2**20


def memory_of(compute: Callable[[], object], device: str) -> float:
    """MiB that a computation needs at its peak beyond what is held before it.

    It runs twice and the second time counts, so that what libraries allocate once does not. On the CPU, which is Linux
    here, `MALLOC_MMAP_THRESHOLD_` should be small in the environment, so that freed tensors do not stay with the
    process.
    """
    compute()
    if device != "cpu":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated() / 2**20
        compute()
        return peak_memory(device) - before
    Path("/proc/self/clear_refs").write_text("5")  # the peak becomes what is resident now
    before = _resident_peak()
    compute()
    return _resident_peak() - before


def _resident_peak() -> float:
    """Most MiB resident since the peak was reset."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024
