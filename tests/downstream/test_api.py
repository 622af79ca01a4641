"""What `mug` offers to Python."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import mug
from agnn_head.checkpoint import save_weights as save_agnn
from agnn_head.options import AGNNConfig, EmbeddingConfig
from mug.checkpoint import save_weights
from mug.errors import InputError
from mug.options import BackboneConfig, ModelConfig

BACKBONE = BackboneConfig(depth=18, stages=2, stride=8)
Squares = Callable[..., Path]


def test_importing_loads_no_library() -> None:
    code = "import sys, mug; print([n for n in ('numpy', 'torch', 'cv2', 'yaml') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_public_name_resolves() -> None:
    for name in mug.__all__:
        assert getattr(mug, name) is not None
        assert name in dir(mug)
    with pytest.raises(AttributeError, match="no attribute 'Muug'"):
        mug.Muug  # noqa: B018


def test_weights_tell_whose_they_are(tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_weights(tmp_path / "phi.safetensors", mug.MuG(ModelConfig(backbone=BACKBONE)).eval(), {})
    small = AGNNConfig(EmbeddingConfig(backbone=BACKBONE, rates=(1, 2, 3)), channels=8, iterations=1)
    save_agnn(tmp_path / "agnn.safetensors", mug.AGNN(small).eval(), {})
    assert isinstance(mug.load(tmp_path / "phi.safetensors"), mug.MuG)
    assert isinstance(mug.load(str(tmp_path / "agnn.safetensors")), mug.AGNN)
    assert isinstance(mug.load(), mug.MuG)
    with pytest.raises(InputError, match="no such file"):
        mug.load(tmp_path / "nothing.safetensors")


def test_a_video_becomes_masks_as_by_the_command(moving_squares: Squares, tmp_path: Path) -> None:
    from mug.cli import main
    from mug.media.masks import read_mask

    clip = moving_squares(videos=1, frames=3) / "JPEGImages/480p/square0"
    masks = list(mug.segment(str(clip), mode="paper", size=48, refine="guided", device="cpu"))
    words = ["--mode", "paper", "--size", "48", "--refine", "guided", "--device", "cpu", "--out", str(tmp_path / "out")]
    assert main(["segment", str(clip), *words]) == 0
    for index, mask in enumerate(masks):
        assert np.array_equal(mask, read_mask(tmp_path / f"out/square0/{index:05d}.png"))


def test_an_option_of_another_system_is_refused(moving_squares: Squares) -> None:
    clip = moving_squares(videos=1, frames=1) / "JPEGImages/480p/square0"
    with pytest.raises(InputError, match="graph: system mug has no such option"):
        next(mug.segment(clip, graph=None))


@pytest.fixture
def square() -> np.ndarray:
    mask = np.zeros((3, 40, 60), np.uint8)
    mask[:, 10:20, 10:30], mask[:, 25:35, 10:30] = 1, 2
    return mask


def test_arrays_are_scored_as_one_foreground_or_object_by_object(square: np.ndarray) -> None:
    swapped = np.where(square == 1, 2, np.where(square == 2, 1, 0)).astype(np.uint8)
    assert mug.score(square, swapped) == {"J": 1.0, "F": 1.0, "J&F": 1.0}
    assert mug.score(square, swapped, "one-shot")["J"] == 0.0
    assert mug.score(square[0], square[0], "one-shot")["J"] == 1.0
    half = square.copy()
    half[:, :, 20:] = 0
    assert mug.score(square, half)["J"] == pytest.approx(0.5)


def test_void_counts_neither_way(square: np.ndarray) -> None:
    truth = square.copy()
    truth[:, 10:20, 20:30] = 255
    result = square.copy()
    result[:, 10:20, 20:30] = 0
    assert mug.score(truth, result)["J"] == 1.0


def test_masks_of_0_and_255_are_of_an_object(square: np.ndarray) -> None:
    drawn = (square > 0) * np.uint8(255)
    assert mug.score(drawn, drawn)["J"] == mug.score(square, drawn)["J"] == 1.0
    assert mug.score(drawn, np.zeros_like(drawn))["J"] == 0.0
    with pytest.raises(InputError, match="the mask holds float64 values"):
        mug.score(square, square / 2)


def test_folders_are_scored_as_by_the_command(moving_squares: Squares) -> None:
    root = moving_squares(videos=1, frames=4)
    assert mug.score(root, root / "Annotations/480p")["J"] == 1.0


@pytest.mark.parametrize(
    ("truth", "result", "said"),
    [
        (np.zeros((4, 5)), np.zeros((5, 4)), "give two alike"),
        (np.zeros((4, 5)), Path("x"), "two folders or two arrays"),
    ],
)
def test_what_cannot_be_scored_is_refused(truth: np.ndarray, result: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        mug.score(truth, result)  # type: ignore[arg-type]


def test_the_propagator_needs_nothing(moving_squares: Squares) -> None:
    root = moving_squares(videos=1, frames=2)
    video = mug.open_video(root / "JPEGImages/480p/square0")
    from mug.media.masks import read_mask

    propagator = mug.Propagator()
    propagator.step(video[0], read_mask(root / "Annotations/480p/square0/00000.png"))
    assert (propagator.step(video[1]) > 0).any()
