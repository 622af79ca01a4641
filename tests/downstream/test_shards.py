"""Shards of a command meet in one folder, as if one process had done all."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from agnn_head.checkpoint import save_weights as save_agnn
from agnn_head.model import AGNN
from agnn_head.options import AGNNConfig
from mug.checkpoint import save_weights
from mug.cli import main
from mug.model import MuG
from mug.options import BackboneConfig, EmbeddingConfig, ModelConfig

Squares = Callable[..., Path]
Word = Path | str
BACKBONE = BackboneConfig(depth=18, stages=2, stride=8)
SEGMENT = ("segment", "--mode", "paper", "--size", "48", "--raw", "--overlay")
PROPAGATE = ("propagate", "--size", "48", "--evidence", "none")
COSEGMENT = ("cosegment", "--size", "32")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Untrained weights for each command."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights")
    save_weights(folder / "phi.safetensors", MuG(ModelConfig(BACKBONE)).eval(), {})
    config = AGNNConfig(EmbeddingConfig(backbone=BACKBONE, rates=(1, 2, 3)), channels=8, iterations=1)
    save_agnn(folder / "agnn.safetensors", AGNN(config).eval(), {})
    return {name: folder / f"{'agnn' if name == 'cosegment' else 'phi'}.safetensors" for name in (
        "segment", "propagate", "cosegment",
    )}  # fmt: skip


@pytest.fixture
def root(moving_squares: Squares) -> Path:
    """Three videos."""
    return moving_squares(videos=3, frames=3)


def words(command: tuple[str, ...], root: Path, weights: dict[str, Path], out: Path) -> list[str]:
    name, *how = command
    place = root / "JPEGImages/480p" if name == "cosegment" else root
    return [name, str(place), "--weights", str(weights[name]), "--out", str(out), *how, "--device", "cpu"]


def call(*arguments: Word) -> int:
    return main([str(word) for word in arguments])


def tree(folder: Path) -> dict[str, bytes]:
    """Everything in a folder, hidden files too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("command", [SEGMENT, PROPAGATE, COSEGMENT])
def test_shards_write_what_one_process_writes(
    command: tuple[str, ...],
    root: Path,
    weights: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert call(*words(command, root, weights, whole)) == 0
    shared = words(command, root, weights, out)
    capsys.readouterr()
    assert call(*shared, "--shard", "2/2") == 0
    assert "shard 2 of 2 (--shard): 1 of 3" in capsys.readouterr().err
    assert {path.split("/")[-2] for path in tree(out) if path.endswith(".png")} == {"square1"}
    assert call(*shared, "--shard", "1/2") == 0
    assert tree(out) == tree(whole)
    assert call(*shared, "--shard", "2/2") == 2
    assert "is there already" in capsys.readouterr().err
    assert call(*shared, "--resume") == 0  # by all, for all
    assert "3 of 3 are finished and kept" in capsys.readouterr().err


def test_more_shards_than_videos(
    root: Path, weights: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*words(SEGMENT, root, weights, tmp_path / "out"), "--shard", "4/4") == 0
    assert call(*words(PROPAGATE, root, weights, tmp_path / "out"), "--shard", "5/5") == 0
    assert capsys.readouterr().err.splitlines() == [
        "shard 4 of 4 (--shard): none of 3 videos",
        "shard 5 of 5 (--shard): none of 3 videos",
    ]
    assert not (tmp_path / "out").exists()
    assert call(*words(SEGMENT, root, weights, tmp_path / "out"), "--shard", "0/4") == 2
    assert "--shard 0/4: parts are numbered from 1 to n" in capsys.readouterr().err


def test_processes_of_torchrun_share_the_videos(root: Path, weights: dict[str, Path], tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert call(*words(SEGMENT, root, weights, whole)) == 0
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "mug"]
    done = subprocess.run(
        [sys.executable, *launch, *words(SEGMENT, root, weights, out)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    said = sorted(line for line in done.stderr.splitlines() if line.startswith("shard"))
    assert said == ["shard 1 of 2 (RANK): 2 of 3 videos", "shard 2 of 2 (RANK): 1 of 3 videos"]
    assert tree(out) == tree(whole)


def evaluation(root: Path, pred: Path, *how: str) -> list[str]:
    alone = ["--workers", "1"] if how[1:] in (("zero-shot",), ("one-shot",)) else []
    return ["evaluate", "--gt", str(root), "--pred", str(pred), *how, *alone]


@pytest.fixture
def results(root: Path, tmp_path: Path) -> Path:
    """Results of all three videos, shifted by some pixels."""
    for path in (root / "Annotations/480p").rglob("*.png"):
        mask = Image.open(path)
        place = tmp_path / "results" / path.parent.name / path.name
        place.parent.mkdir(parents=True, exist_ok=True)
        mask.transform(mask.size, Image.Transform.AFFINE, (1, 0, 3, 0, 1, int(path.stem))).save(place)
    return tmp_path / "results"


def scores(folder: Path) -> list[str]:
    """Options for two output files."""
    return ["--out", str(folder / "scores.json"), str(folder / "scores.csv")]


@pytest.mark.parametrize(
    "how",
    [
        ("--task", "zero-shot"),
        ("--task", "one-shot"),
        ("--task", "unsupervised"),
        ("--task", "zero-shot", "--protocol", "report"),
        ("--task", "cosegmentation"),
    ],
    ids=lambda how: how[-1],
)
def test_shards_of_an_evaluation_write_the_scores_of_one_process(
    how: tuple[str, ...], root: Path, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if how[-1] == "cosegmentation":
        for folder in (root / "JPEGImages/480p").iterdir():
            (root / "Annotations/480p" / folder.name).rename(folder / "GroundTruth")
        root = root / "JPEGImages/480p"
    command = evaluation(root, results, *how)
    (tmp_path / "whole").mkdir()
    (tmp_path / "out").mkdir()
    assert call(*command, *scores(tmp_path / "whole")) == 0
    table = capsys.readouterr().out
    for number, count in ((4, 0), (2, 1), (3, 2)):
        assert call(*command, *scores(tmp_path / "out"), "--shard", f"{number}/4") == 0
        said = capsys.readouterr()
        assert f"{count} of 3 sequences are scored" in said.err and not said.out
    assert not [path for path in (tmp_path / "out").iterdir() if not path.name.startswith(".")]
    assert call(*command, *scores(tmp_path / "out"), "--shard", "1/4") == 0
    assert capsys.readouterr().out == table
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")
    # one that comes late, with nothing to score, does not mind
    assert call(*command, *scores(tmp_path / "out"), "--shard", "4/4") == 0
    assert call(*command, *scores(tmp_path / "out"), "--shard", "1/4") == 2
    assert "scores.json: is there already" in capsys.readouterr().err


def test_scores_of_masks_that_changed_are_not_used(root: Path, results: Path, tmp_path: Path) -> None:
    command = evaluation(root, results, "--task", "zero-shot")
    (tmp_path / "out").mkdir()
    assert call(*command, *scores(tmp_path / "out"), "--shard", "1/2") == 0
    first = results / "square0/00001.png"
    Image.new("L", (64, 48), 255).save(first)
    assert call(*command, *scores(tmp_path / "out"), "--shard", "2/2") == 0
    assert not (tmp_path / "out/scores.json").exists()
    assert call(*command, *scores(tmp_path / "out"), "--shard", "1/2") == 0
    assert call(*command, *scores(tmp_path)) == 0
    assert (tmp_path / "out/scores.json").read_bytes() == (tmp_path / "scores.json").read_bytes()


def test_shards_of_an_evaluation_need_a_file_to_meet(
    root: Path, results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call(*evaluation(root, results, "--task", "zero-shot"), "--shard", "1/2", "--out", "-") == 2
    assert "--out: 2 shards (--shard) meet beside their output" in capsys.readouterr().err
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")
    monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "3")
    assert call(*evaluation(root, results, "--task", "zero-shot")) == 2
    assert "--out: 3 shards (SLURM_ARRAY_TASK_ID)" in capsys.readouterr().err
