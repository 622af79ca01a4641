"""Precision of arithmetic: what autocast's half is too little for; bfloat16 units, and the cost of none."""

from __future__ import annotations

import time

import torch
import torch.nn.functional as F
from torch import Tensor

TIMED = (2, 64, 24, 24)
"""Input shape of the timed convolution; emulated, it takes less than a tenth of a second."""


def widen(x: Tensor) -> Tensor:
    """Converts to at least single precision, for sums, norms and softmax."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def has_units(device_type: str) -> bool:
    """Whether a device has bfloat16 hardware; others emulate it, at many times the cost of float32.

    Args:
        device_type: `cpu` or `cuda`.
    """
    if device_type == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    if device_type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    # oneDNN also reports support for AVX-512 without bfloat16 instructions, where a convolution takes two to three
    # times as long as in float32
    without = torch.cpu._is_avx512_supported() and not torch.cpu._is_avx512_bf16_supported()
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and not without


def precision_in_words(precision: str, device: torch.device) -> str:
    """One line: the precision, whether the device has bfloat16 units, and the slowdown if the run needs them."""
    name = "GPU" if device.type == "cuda" else device.type.upper()
    if has_units(device.type):
        return f"precision {precision} (this {name} has bfloat16 units)"
    if not precision.startswith("bf16"):
        return f"precision {precision} (this {name} has no bfloat16 units)"
    return (
        f"engine.precision {precision}: this {name} has no bfloat16 units; emulated, a convolution takes "
        f"{slowdown(device):.0f} times as long as in 32-true"
    )


def slowdown(device: torch.device) -> float:
    """Time of a 64 -> 64 convolution in bfloat16 relative to float32; the measurement takes half a second.

    On a CPU, one thread is measured in processor time, so that other load hardly matters.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _seconds(torch.bfloat16, device) / _seconds(torch.float32, device)
    finally:
        torch.set_num_threads(threads)


@torch.no_grad()
def _seconds(dtype: torch.dtype, device: torch.device) -> float:
    """The fastest of three convolutions, after one to warm up."""
    x = torch.ones(TIMED, dtype=dtype, device=device)
    weight = torch.ones(TIMED[1], TIMED[1], 3, 3, dtype=dtype, device=device)
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    taken = []
    for _ in range(4):
        began = clock()
        F.conv2d(x, weight, padding=1)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(clock() - began)
    return min(taken[1:])
