"""Runs in real processes: exact resume, several devices, and what a run leaves behind."""

from __future__ import annotations

import math
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from mug.checkpoint import load_weights
from mug.cli import main
from mug.errors import InputError
from mug.options import LossWeights
from mug.run.settings import to_plain
from pretrain.train import pretrain
from tests.pretrain.tiny import rows, tiny


def test_a_run_killed_again_and_again_ends_as_the_undisturbed_one(runs: tuple[Path, str]) -> None:
    folder, said = runs
    killed = [f"{name} 9" for name in ("kill_in_prior", "kill_in_step", "kill_in_checkpoint", "kill_in_relabelling")]
    assert said.splitlines() == [*killed, "last 0"]
    assert (folder / "killed/metrics.csv").read_bytes() == (folder / "whole/metrics.csv").read_bytes()
    whole, _ = load_weights(folder / "whole/phi.safetensors")
    again, _ = load_weights(folder / "killed/phi.safetensors")
    for name, value in whole.state_dict().items():
        if not name.startswith(("kappa", "short")):
            assert torch.equal(value, again.state_dict()[name]), name


def test_a_run_leaves_all_it_should_and_nothing_half_written(runs: tuple[Path, str]) -> None:
    folder, _ = runs
    for run in (folder / "whole", folder / "killed"):
        assert [path.name for path in run.rglob(".*")] == []
        assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["step0000004.pt", "step0000005.pt"]
        names = {"config.yaml", "metrics.csv", "timing.csv", "checkpoints", "labels", "pictures", "phi.safetensors"}
        assert names <= {path.name for path in run.iterdir()}
        for part in ("prior", "round1"):
            assert len(list((run / "labels" / part).rglob("*.png"))) == 5 * 2
        assert sorted(path.name for path in (run / "pictures").iterdir()) == [
            f"0000004_{name}.png" for name in ("labels", "tracking", "warps")
        ]
        with Image.open(run / "pictures" / "0000004_labels.png") as labels:  # a row for each frame, four pictures wide
            assert labels.size == (4 * 64, 4 * 64)
    _, metadata = load_weights(folder / "whole/phi.safetensors")
    assert metadata["training"].startswith("5 videos, 40 frames")
    assert metadata["steps"] == "5"
    assert {"date", "commit", "options", "round", "temperature"} <= metadata.keys()
    assert str(folder) not in str(metadata)  # weights are passed on, and say nothing of the user's folders


def test_retrieval_is_measured_as_often_as_asked(runs: tuple[Path, str]) -> None:
    for name in ("retrieval_recall", "retrieval_precision"):
        column = [row[name] for row in rows(runs[0] / "whole")]
        assert [math.isnan(value) for value in column] == [True, False, True, False, True]
        assert all(0 <= value <= 1 for value in column if not math.isnan(value))


def test_shares_of_the_gradient_are_measured_as_often_as_asked(runs: tuple[Path, str]) -> None:
    log = rows(runs[0] / "whole")
    shares = [{name: row[f"share_{name}"] for name in vars(LossWeights())} for row in log]
    assert [math.isnan(share["frame"]) for share in shares] == [False, True, False, True, False]
    assert all(math.isnan(shares[0][name]) for name in ("short", "long", "video"))  # the warm-up is without them
    for share in (shares[0], shares[2], shares[4]):
        assert sum(value for value in share.values() if not math.isnan(value)) == pytest.approx(1)


def test_metrics_say_what_was_trained(runs: tuple[Path, str]) -> None:
    log = rows(runs[0] / "whole")
    assert [(row["step"], row["round"]) for row in log] == [(0, 1), (1, 1), (2, 1), (3, 2), (4, 2)]
    first, later = log[0], log[1]
    assert first["total"] == pytest.approx(first["frame"] + first["readout"] + first["warp"])  # the warm-up's weights
    assert first["video"] != first["video"]
    parts = {"frame": 1, "readout": 1, "short": 0.1, "long": 0.02, "video": 0.5, "warp": 0.5}  # Eq. 16
    assert later["total"] == pytest.approx(sum(weight * later[name] for name, weight in parts.items()), rel=1e-5)


def test_two_processes_of_srun_train_to_the_losses_of_one(runs: tuple[Path, str]) -> None:
    one, two = rows(runs[0] / "one"), rows(runs[0] / "two")
    assert len(one) == len(two) == 5
    for a, b in zip(one, two, strict=True):
        terms = ("frame", "readout", "short", "long", "video", "warp")
        for name in ("total", *terms, *(f"share_{term}" for term in terms)):
            assert b[name] == pytest.approx(a[name], nan_ok=True, rel=0, abs=1e-5), (a["step"], name)


def test_a_finished_run_is_left_alone(runs: tuple[Path, str], capsys: pytest.CaptureFixture[str]) -> None:
    folder = runs[0] / "whole"
    stamps = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    pretrain(tiny(runs[0] / "videos", folder))
    assert "this run is finished" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == stamps


def test_a_run_of_another_configuration_is_refused(runs: tuple[Path, str]) -> None:
    options = tiny(runs[0] / "videos", runs[0] / "whole")
    options.optimiser.lr = 0.5
    with pytest.raises(InputError, match=r"holds a run with optimiser\.lr = 0\.001 and this one has 0\.5"):
        pretrain(options)


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
