"""Where the networks of a command run."""

from __future__ import annotations

import pytest
import torch

from downstream.backbones.device import choose_device


@pytest.mark.parametrize(
    ("name", "place", "device"),
    [("auto", 0, "cuda"), ("auto", 1, "cuda:1"), ("cuda", 5, "cuda:1"), ("cuda:0", 1, "cuda:0"), ("cpu", 1, "cpu")],
)
def test_processes_on_one_machine_have_their_own_gpus(
    monkeypatch: pytest.MonkeyPatch, name: str, place: int, device: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    for variable, value in {"RANK": 6, "WORLD_SIZE": 8, "LOCAL_RANK": place}.items():
        monkeypatch.setenv(variable, str(value))
    assert choose_device(name) == torch.device(device)
