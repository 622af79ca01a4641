"""The device that the networks of a command run on."""

from __future__ import annotations

import torch

from mug.errors import InputError
from mug.run.shard import place_on_node


def choose_device(name: str) -> torch.device:
    """The device of `--device NAME`.

    Processes that torchrun or srun started on one machine are spread over its GPUs.

    Args:
        name: "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:0".

    Raises:
        InputError: this machine has no such device.
    """
    if name == "auto":
        return _own_gpu() if torch.cuda.is_available() else torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"--device {name}: no such device; use auto, cpu or cuda") from error
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"--device {name}: not supported; use auto, cpu or cuda")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"--device {name}: there is no such GPU here; use --device cpu")
    return _own_gpu() if device == torch.device("cuda") else device


def _own_gpu() -> torch.device:
    place = place_on_node() % max(torch.cuda.device_count(), 1)
    return torch.device("cuda", place) if place else torch.device("cuda")
