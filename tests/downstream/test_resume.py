"""`--resume` of `mug segment`, `mug propagate` and `mug cosegment`: real processes, killed in the middle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

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

DIES = """
import os, signal, sys
from mug.cli import main
from mug.media import masks

number, (moment, *arguments) = 0, sys.argv[1:]
save = masks.Image.Image.save

def counted(image, path, **how):
    global number
    number += 1
    if number == int(moment):
        path.write_bytes(b"half a mask")
        os.kill(os.getpid(), signal.SIGKILL)
    save(image, path, **how)

masks.Image.Image.save = counted
sys.exit(main(arguments))
"""
"""Runs `mug` and kills it in the middle of its nth mask."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "untrained.safetensors"
    save_weights(path, MuG(ModelConfig(BACKBONE)).eval(), {})
    return path


def call(*words: Word) -> int:
    return main([str(word) for word in words])


def killed(moment: int, *words: Word) -> int:
    """The exit status of `mug WORDS`, killed in its nth mask."""
    command = [sys.executable, "-c", DIES, str(moment), *(str(word) for word in words)]
    return subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}).returncode


def tree(folder: Path) -> dict[str, bytes]:
    """Everything in a folder, hidden files too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def segmentation(root: Path, weights: Path, out: Path) -> tuple[Word, ...]:
    how = ("--mode", "paper", "--size", "48", "--device", "cpu", "--raw", "--overlay")
    return ("segment", root, "--weights", weights, "--out", out, *how)


def test_segment_killed_and_resumed_is_as_if_undisturbed(
    moving_squares: Squares, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = moving_squares(videos=3, frames=3)
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert call(*segmentation(root, weights, whole), "--resume") == 0
    assert f"{whole}: 0 of 3 are finished and kept" in capsys.readouterr().err
    assert killed(9, *segmentation(root, weights, out)) == -signal.SIGKILL  # in the second video
    assert tree(out).keys() != tree(whole).keys() and list(out.rglob(".0000*"))
    assert call(*segmentation(root, weights, out)) == 2
    assert "--resume" in capsys.readouterr().err
    first = (out / "square0/00000.png").stat().st_mtime_ns
    assert call(*segmentation(root, weights, out), "--resume") == 0
    assert f"{out}: 1 of 3 are finished and kept" in capsys.readouterr().err
    assert (out / "square0/00000.png").stat().st_mtime_ns == first
    assert tree(out) == tree(whole)
    assert not [path for path in out.rglob(".*") if path.is_dir()]


@pytest.mark.parametrize(
    ("words", "named"),
    [(("--mode", "adapted"), "mode = 'paper'"), (("--raw=false",), "raw = True"), (("--size", "56"), "size = 48")],
)
def test_other_options_are_refused_by_name(
    moving_squares: Squares,
    weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    named: str,
) -> None:
    root = moving_squares(videos=1, frames=2)
    command = segmentation(root, weights, tmp_path / "out")
    assert call(*command) == 0
    before = tree(tmp_path / "out")
    capsys.readouterr()
    assert call(*command, "--resume", *words) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"was made with {named}" in said
    assert tree(tmp_path / "out") == before


def test_other_weights_in_the_same_place_are_refused(
    moving_squares: Squares, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, path = moving_squares(videos=2, frames=2), tmp_path / "phi.safetensors"
    command = ("propagate", root, "--weights", path, "--out", tmp_path / "out", "--size", "48", "--device", "cpu")
    torch.manual_seed(1)
    for trained, status in ((True, 0), (False, 0), (True, 2)):
        if trained:
            save_weights(path, MuG(ModelConfig(BACKBONE)).eval(), {})
        assert call(*command, "--resume") == status
    *said, refused = capsys.readouterr().err.splitlines()
    kept = [f"{tmp_path / 'out'}: {count} of 2 are finished and kept" for count in (0, 2)]
    assert said == [kept[0], f"{tmp_path / 'out'}: 2 videos done", kept[1], f"{tmp_path / 'out'}: 2 videos done"]
    assert "was made with weights = 'phi.safetensors (" in refused


def test_propagate_and_cosegment_killed_and_resumed_are_as_if_undisturbed(
    moving_squares: Squares, weights: Path, tmp_path: Path
) -> None:
    root = moving_squares(videos=2, frames=3)
    torch.manual_seed(0)
    graph = tmp_path / "agnn.safetensors"
    save_agnn(
        graph,
        AGNN(AGNNConfig(EmbeddingConfig(backbone=BACKBONE, rates=(1, 2, 3)), channels=8, iterations=1)).eval(),
        {},
    )
    for command, place, how in (
        ("propagate", root, ("--weights", weights, "--size", "48", "--evidence", "none")),
        ("cosegment", root / "JPEGImages/480p", ("--weights", graph, "--size", "32")),
    ):
        words = (command, place, *how, "--device", "cpu", "--out")
        assert call(*words, tmp_path / command / "whole") == 0
        assert killed(5, *words, tmp_path / command / "out") == -signal.SIGKILL
        assert call(*words, tmp_path / command / "out", "--resume") == 0
        assert tree(tmp_path / command / "out") == tree(tmp_path / command / "whole")
