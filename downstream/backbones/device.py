"""The device that the networks of a command run on."""

from __future__ import annotations

import torch

from mug.errors import InputError


def choose_device(name: str) -> torch.device:
    """The device of `--device NAME`.

    Args:
        name: "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:0".

    Raises:
        InputError: this machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"--device {name}: no such device; use auto, cpu or cuda") from error
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"--device {name}: not supported; use auto, cpu or cuda")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"--device {name}: there is no such GPU here; use --device cpu")
    return device
