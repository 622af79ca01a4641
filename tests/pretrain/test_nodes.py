"""Pretraining on two nodes: real processes that `torchrun` starts, twice on one host."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mug.cli import main
from mug.run.settings import to_plain
from tests.pretrain.tiny import rows, tiny


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Two rounds of a step: initial maps, a step, new maps, a step."""
    options = to_plain(tiny(tmp_path, tmp_path))
    options |= {"rounds": [1, 1], "picture_every": 0, "share_every": 0, "retrieval_every": 0}
    options["warmup"]["steps"] = 0
    options["engine"]["precision"] = "64-true"  # see runs_in_children.py
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump({name: value for name, value in options.items() if name not in ("videos", "out")}))
    return path


def test_two_nodes_train_to_the_losses_of_one_process(videos: Path, config: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    words = ["pretrain", "--config", str(config), "--videos", str(videos)]
    assert main([*words, "--out", str(one)]) == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meeting = f"127.0.0.1:{free.getsockname()[1]}"
    launch = ["-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d"]
    launch += ["--rdzv-id", "nodes", "--rdzv-endpoint", meeting]
    nodes = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", *launch, "-m", "mug", *words, "--engine.nodes", "2", "--out", str(two)],
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    said = "".join(node.communicate(timeout=500)[1] for node in nodes)
    assert [node.returncode for node in nodes] == [0, 0], said
    assert said.count("5 videos, 40 frames") == said.count("finished after 2 steps") == 1  # of the first process
    for a, b in zip(rows(one), rows(two), strict=True):
        for name in ("total", "frame", "readout", "short", "long", "video"):
            assert b[name] == pytest.approx(a[name], rel=0, abs=1e-5), (a["step"], name)
    for part in ("prior", "round1"):  # made by both nodes, each for a share of the videos
        maps = [sorted((run / "labels" / part).rglob("*.png")) for run in (one, two)]
        assert len(maps[0]) == 5 * 2
        for a, b in zip(*maps, strict=True):
            assert a.read_bytes() == b.read_bytes()
    assert not list(two.rglob(".*"))
