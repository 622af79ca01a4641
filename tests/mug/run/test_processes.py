"""Two gloo processes train as one: real processes, each with half of the batch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mug.run.processes import first_row, gather, share_of_mean, world_size

WORKER = Path(__file__).with_name("process_worker.py")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Tensor]]:
    folder = tmp_path_factory.mktemp("processes")
    environment = os.environ | {"PYTHONPATH": str(WORKER.parents[3]), "OMP_NUM_THREADS": "1"}
    running = []
    for processes in (1, 2):
        for rank in range(processes):
            arguments = [rank, processes, folder / f"meeting{processes}", folder / f"result{processes}.pt"]
            command = [sys.executable, str(WORKER), *map(str, arguments)]
            running.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
    for process in running:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    return {n: torch.load(folder / f"result{n}.pt", weights_only=True) for n in (1, 2)}


def test_batch_norm_of_two_processes_is_that_of_one(results: dict[int, dict[str, Tensor]]) -> None:
    names = [name for name in results[1] if name.startswith("norm.")]
    assert len(names) == 5
    for name in names:
        torch.testing.assert_close(results[2][name], results[1][name], rtol=1e-5, atol=1e-6, msg=name)


def test_losses_of_two_processes_are_those_of_one(results: dict[int, dict[str, Tensor]]) -> None:
    one, two = results[1]["losses"], results[2]["losses"]
    assert (one != 0).all()
    torch.testing.assert_close(two, one, rtol=0, atol=1e-9)


def test_gradients_of_two_processes_are_those_of_one(results: dict[int, dict[str, Tensor]]) -> None:
    names = [name for name in results[1] if name.startswith("grad.")]
    assert any(name.startswith("grad.kappa") for name in names)
    for name in names:
        torch.testing.assert_close(results[2][name], results[1][name], rtol=1e-6, atol=1e-9, msg=name)


def test_statistics_of_two_processes_are_those_of_one(results: dict[int, dict[str, Tensor]]) -> None:
    for name in (name for name in results[1] if name.startswith("buffer.")):
        torch.testing.assert_close(results[2][name], results[1][name], rtol=1e-8, atol=1e-9, msg=name)


def test_in_one_process_nothing_is_exchanged() -> None:
    x = torch.randn(3, 2)
    assert gather(x) is x
    assert (world_size(), first_row(x)) == (1, 0)
    assert share_of_mean(torch.tensor(6.0), torch.tensor(4)).item() == 1.5
    assert share_of_mean(torch.tensor(0.0), torch.tensor(0)).item() == 0
