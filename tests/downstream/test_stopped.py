"""`mug finetune` stopped by signals, in real processes."""

from __future__ import annotations

import csv
import socket
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mug.checkpoint import save_weights
from mug.cli import main
from mug.model import MuG
from mug.options import BackboneConfig, ModelConfig
from tests.downstream.systems.small import BRIEFLY, TRAINING
from tests.signalled import run
from tests.squares import write_squares


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A training of five steps without a checkpoint on the way."""
    root = tmp_path_factory.mktemp("training")
    torch.manual_seed(0)
    save_weights(root / "phi", MuG(ModelConfig(BackboneConfig(depth=18, stages=2, stride=8))).eval(), {})
    data = ("--data", write_squares(root, videos=4, frames=6, objects=2), "--weights", root / "phi", "--steps", 5)
    how = ("--save_every", 100, "--workers", 1, "--engine.precision", "64-true")
    return ["finetune", "agnn", *TRAINING["agnn"], *BRIEFLY, *(str(word) for word in (*data, *how)), "--out"]


@pytest.fixture(scope="module")
def whole(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of that training, undisturbed."""
    folder = tmp_path_factory.mktemp("whole") / "whole"
    assert main([*words, str(folder)]) == 0
    return folder


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_training_stopped_by_signals_ends_as_the_undisturbed_one(
    words: list[str], whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for step, name, status in ((1, "SIGTERM", 143), (4, "SIGINT", 0)):
        child = run("downstream.finetune", step, name, *words, out)
        said = child.communicate(timeout=240).splitlines()
        assert child.returncode == status, said
        if status:
            assert said[-1] == f"{out}: stopped after step {step + 1}, which is saved; the same command goes on"
    assert (whole / "metrics.csv").read_bytes() == (out / "metrics.csv").read_bytes()
    tensors, again = (load_file(folder / "agnn.safetensors") for folder in (whole, out))
    assert all(torch.equal(x, again[name]) for name, x in tensors.items())


def test_a_second_ctrl_c_ends_at_once(words: list[str], tmp_path: Path) -> None:
    child = run("downstream.finetune", 2, "SIGINT,SIGINT", *words, tmp_path / "out")
    said = child.communicate(timeout=240).splitlines()
    assert child.returncode == 130
    assert said[-2:] == ["SIGINT: ends after this step; Ctrl-C again ends at once", "mug: stopped"]
    assert not (tmp_path / "out/checkpoints").exists()
    assert len(rows(tmp_path / "out")) == 2


def test_a_signal_to_one_of_two_processes_stops_both(words: list[str], whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for step, name, status in ((2, "SIGTERM", 143), (9, "SIGTERM", 0)):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
        more = (*words, out, "--engine.devices", 2)
        children = [
            run("downstream.finetune", step if rank else 9, name, *more, LOCAL_RANK=str(rank), **place)
            for rank in (0, 1)
        ]
        said = [child.communicate(timeout=240) for child in children]
        assert [child.returncode for child in children] == [status, 0], said
        assert said[0].count("stopped after step 3") == bool(status) and "stopped after" not in said[1]
    for alone, together in zip(rows(whole), rows(out), strict=True):
        assert float(together["video"]) == pytest.approx(float(alone["video"]), rel=0, abs=1e-5)
