"""How much memory a measurement took; each runs in a process of its own."""

from __future__ import annotations

import resource

import torch


def peak_memory(device: str) -> float:
    """Most memory so far in MiB: resident in this process on `cpu`, else allocated on the GPU."""
    if device == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return torch.cuda.max_memory_allocated() / 2**20
