"""Segmenting a video with AGNN."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from agnn_head.checkpoint import save_weights
from agnn_head.model import AGNN
from agnn_head.options import AGNNConfig
from downstream.systems.agnn import GraphConfig, inference
from downstream.systems.agnn.inference import graph_probabilities, segment_by_graph, subsets
from downstream.zero_shot.cut import expected_cut
from mug.cli import main
from mug.errors import InputError
from mug.media.overlay import OverlayWriter
from mug.media.refine import recut
from mug.media.video import Video, open_video
from mug.options import BackboneConfig, EmbeddingConfig

Squares = Callable[..., Path]


@pytest.fixture(scope="module")
def model() -> AGNN:
    torch.manual_seed(0)
    backbone = BackboneConfig(depth=18, stages=2, stride=8)
    made = AGNN(AGNNConfig(EmbeddingConfig(backbone=backbone, rates=(1, 2, 3)), channels=8, iterations=2)).eval()
    for parameter in made.readout.parameters():
        parameter.data *= 3  # the maps of random weights are almost even
    return made


class Brightness(torch.nn.Module):
    """Stands in for AGNN: the logit of a cell is its brightness; notes which frames came together."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))
        self.seen: list[list[int]] = []

    def forward(self, frames_bnchw: Tensor, iterations: int | None = None) -> Tensor:
        self.seen.append([round(255 * float(frame.mean())) for frame in frames_bnchw[0]])
        return torch.nn.functional.avg_pool2d(frames_bnchw[0, :, :1], 8)[None]


class Levels(Video):
    """Frame t is all of brightness t; frames are made as they are asked for."""

    def __init__(self, frames: int, size: tuple[int, int] = (32, 48)) -> None:
        self.path, self.name, self.fps, self.size = Path("levels"), "levels", 24.0, size
        self.frame_names = [f"{t:05d}" for t in range(frames)]

    def _frame(self, index: int) -> np.ndarray:
        return np.full((*self.size, 3), index % 256, np.uint8)


@pytest.mark.parametrize("frames", [1, 2, 5, 6, 7, 23])
@pytest.mark.parametrize("nodes", [1, 3, 5])
def test_subsets_span_the_video_and_hold_every_frame_once(frames: int, nodes: int) -> None:
    found = subsets(frames, nodes)
    assert sorted(t for graph in found for t in graph) == list(range(frames))
    assert len(found) == -(-frames // nodes)
    for start, graph in enumerate(found):
        assert graph == list(range(start, frames, len(found)))
        assert 1 <= len(graph) <= nodes


def test_maps_come_in_order_and_graphs_are_the_subsets() -> None:
    stand_in = Brightness()
    maps = list(segment_by_graph(Levels(11), stand_in, GraphConfig(nodes=4, side=32)))  # type: ignore[arg-type]
    assert stand_in.seen == subsets(11, 4)
    assert [m.shape for m in maps] == [(32, 48)] * 11
    expected = 1 / (1 + np.exp(-np.arange(11) / 255))
    assert np.allclose([m.mean() for m in maps], expected, atol=1e-3)


def test_a_video_is_cut_where_its_maps_say() -> None:
    video, config = Levels(11), GraphConfig(nodes=4, side=32)
    plain = list(segment_by_graph(video, Brightness(), config))  # type: ignore[arg-type]
    config.cut = "expected"
    moved = list(segment_by_graph(video, Brightness(), config))  # type: ignore[arg-type]
    cut = expected_cut(map_hw[::8, ::8] for map_hw in plain)
    assert cut < 0.5  # all are unsure
    assert np.allclose(moved, [recut(map_hw, cut) for map_hw in plain], atol=1e-6)


def test_memory_does_not_grow_with_the_video() -> None:
    def peak(frames: int) -> int:
        tracemalloc.start()
        for _ in segment_by_graph(Levels(frames), Brightness(), GraphConfig(side=256)):  # type: ignore[arg-type]
            pass
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    peak(10)
    # what grows are the lists of indices, some hundred bytes a frame; the smallest map of a frame is 2 kB
    assert peak(600) - peak(60) < 540 * 600


def test_scales_and_mirrored_frames_are_averaged(model: AGNN) -> None:
    frames = torch.randint(0, 256, (3, 3, 64, 64), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)

    def plain(frames_nchw: Tensor) -> Tensor:
        with torch.inference_mode():
            return model(frames_nchw[None].float() / 255)[0, :, 0].sigmoid()

    both = (plain(frames) + plain(frames.flip(-1)).flip(-1)) / 2
    assert np.allclose(graph_probabilities(model, frames, GraphConfig(side=64, flip=True)), both, atol=2e-3)
    assert np.allclose(graph_probabilities(model, frames, GraphConfig(side=64)), plain(frames), atol=2e-3)
    two = graph_probabilities(model, frames, GraphConfig(side=64, scales=[1.0, 0.5]))
    assert two.shape == (3, 8, 8)
    assert not np.allclose(two, plain(frames), atol=2e-3)


@pytest.mark.parametrize(
    "wrong", [{"nodes": 0}, {"side": 8}, {"iterations": -1}, {"scales": []}, {"scales": [1.0, 0.0]}]
)
def test_settings_out_of_range(model: AGNN, wrong: dict[str, int | Sequence[float]]) -> None:
    with pytest.raises(InputError, match=f"--graph.{next(iter(wrong))}"):
        next(segment_by_graph(Levels(2), model, GraphConfig(**wrong)))  # type: ignore[arg-type]


# --- as a user types it ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [1, 7])
def test_the_command_writes_a_mask_of_every_frame(
    moving_squares: Squares, model: AGNN, tmp_path: Path, frames: int
) -> None:
    save_weights(tmp_path / "agnn.safetensors", model, {})
    video = moving_squares(videos=1, frames=frames) / "JPEGImages/480p/square0"
    words = ["segment", video, "--system", "agnn", "--weights", tmp_path / "agnn.safetensors", "--graph.side", 64]
    assert main([*(str(w) for w in words), "--out", str(tmp_path / "out"), "--soft", "--device", "cpu"]) == 0
    assert len(list((tmp_path / "out/square0").glob("*.png"))) == frames
    (first, *_) = segment_by_graph(open_video(video), model, GraphConfig(side=64))
    soft = np.asarray(Image.open(tmp_path / "out/soft/square0/00000.png"))
    assert np.abs(soft - 255 * first).max() < 2  # weights are stored in half precision


def test_frames_get_the_size_that_the_weights_were_trained_at(
    moving_squares: Squares, model: AGNN, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_weights(tmp_path / "agnn.safetensors", model, {"options": json.dumps({"sample": {"size": 80}})})
    sides: list[int | None] = []

    def watched(video: Video, _: AGNN, config: GraphConfig) -> Iterator[np.ndarray]:
        sides.append(config.side)
        return iter([np.zeros(video.size, np.float32)] * len(video))

    monkeypatch.setattr(inference, "segment_by_graph", watched)
    video = moving_squares(videos=1, frames=2) / "JPEGImages/480p/square0"
    words = ["segment", str(video), "--system", "agnn", "--weights", str(tmp_path / "agnn.safetensors"), "--overwrite"]
    for more in ([], ["--graph.side", "64"]):
        assert main([*words, "--out", str(tmp_path / "out"), *more]) == 0
    assert sides == [80, 64]


def test_a_video_file_is_read_at_several_places_at_once(tmp_path: Path) -> None:
    with OverlayWriter(tmp_path / "levels.mp4", 12, (32, 48)) as writer:
        for t in range(40):
            writer.write(np.full((32, 48, 3), 6 * t, np.uint8), np.zeros((32, 48), np.uint8))
    video = open_video(tmp_path / "levels.mp4")
    assert video[3].mean() == pytest.approx(18, abs=4)  # its own place in the file must not matter
    stand_in = Brightness()
    list(segment_by_graph(video, stand_in, GraphConfig(nodes=4, side=32)))  # type: ignore[arg-type]
    assert np.allclose(stand_in.seen, 6 * np.array(subsets(40, 4)), atol=4)


def test_weights_have_to_be_given_and_to_be_agnns(
    moving_squares: Squares, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = str(moving_squares(videos=1, frames=2) / "JPEGImages/480p/square0")
    words = ["segment", video, "--system", "agnn", "--out", str(tmp_path / "out")]
    assert main(words) == 2
    assert "mug finetune agnn" in capsys.readouterr().err
    from mug.checkpoint import packaged_weights

    assert main([*words, "--weights", str(packaged_weights())]) == 2
    assert "agnn" in capsys.readouterr().err.lower()
    assert not (tmp_path / "out").exists()
