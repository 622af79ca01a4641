"""Segmenting a video with COSNet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from downstream.systems.cosnet import ReferenceConfig
from downstream.systems.cosnet.inference import references, segment_by_references
from downstream.systems.cosnet.network import FORMAT
from downstream.zero_shot.cut import expected_cut
from downstream.zero_shot.in_order import square
from mug.cli import main
from mug.errors import InputError
from mug.media.refine import recut
from mug.media.video import Video
from tests.downstream.systems.cosnet.made import small


class Levels(Video):
    """Frame t is all of brightness t; counts what is read."""

    def __init__(self, frames: int, size: tuple[int, int] = (32, 48), name: str = "levels") -> None:
        self.path, self.name, self.fps, self.size = Path(name), name, 24.0, size
        self.frame_names = [f"{t:05d}" for t in range(frames)]
        self.read: list[int] = []

    def _frame(self, index: int) -> np.ndarray:
        self.read.append(index)
        return np.full((*self.size, 3), index % 256, np.uint8)


class Brightness(torch.nn.Module):
    """Stands in for COSNet: features are the brightness; notes the references of each frame."""

    def __init__(self, alone: bool = False) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))
        self.co_attention = None if alone else torch.nn.Identity()
        self.seen: list[tuple[int, list[int]]] = []
        self.embedded = 0
        self.fused: set[bool] = set()

    def embed(self, frames_bchw: Tensor) -> Tensor:
        self.embedded += len(frames_bchw)
        return torch.nn.functional.avg_pool2d(frames_bchw[:, :1], 8)

    def probability(self, v_chw: Tensor, references_nchw: Tensor, fuse_predictions: bool) -> Tensor:
        frame, *others = (round(255 * float(x.mean())) for x in (v_chw, *references_nchw))
        self.seen.append((frame, others))
        self.fused.add(fuse_predictions)
        return v_chw[0]


def read_by(config: ReferenceConfig, frames: int, name: str = "levels") -> list[tuple[int, list[int]]]:
    stand_in, video = Brightness(), Levels(frames, name=name)
    maps = list(segment_by_references(video, stand_in, config))  # type: ignore[arg-type]
    assert np.allclose([m.mean() for m in maps], np.arange(frames) / 255, atol=1e-3)
    assert [m.shape for m in maps] == [(32, 48)] * frames
    assert sorted(video.read) == list(range(frames)) and stand_in.embedded == frames  # each once
    assert [frame for frame, _ in stand_in.seen] == list(range(frames))
    return stand_in.seen


def test_uniform_references_are_the_middles_of_equal_segments() -> None:
    seen = read_by(ReferenceConfig(count=4, side=32), 18)
    assert all(others == [2, 6, 11, 15] for _, others in seen)


def test_random_references_are_of_the_whole_video_and_of_their_seed() -> None:
    first = read_by(ReferenceConfig(count=4, side=32, sampling="random"), 40)
    assert all(others == first[0][1] for _, others in first)
    chosen = first[0][1]
    assert len(set(chosen)) == 4 and chosen == sorted(chosen)
    assert read_by(ReferenceConfig(count=4, side=32, sampling="random"), 40) == first
    other_seed = references(40, ReferenceConfig(count=4, sampling="random", seed=1), "levels")(0)
    other_video = references(40, ReferenceConfig(count=4, sampling="random"), "others")(0)
    assert chosen != other_seed and chosen != other_video
    often = np.bincount(
        [n for s in range(300) for n in references(10, ReferenceConfig(count=2, sampling="random", seed=s))(0)]
    )
    assert len(often) == 10 and often.min() > 30  # of 60 expected


@pytest.mark.parametrize("count", [1, 2, 5])
def test_consecutive_references_are_the_nearest_frames(count: int) -> None:
    for t, others in read_by(ReferenceConfig(count=count, side=32, sampling="consecutive"), 12):
        assert len(others) == count and t not in others
        window = sorted([t, *others])
        assert window == list(range(window[0], window[0] + count + 1))  # consecutive
        if count // 2 < t < 12 - count:
            assert abs(np.mean(window) - t) <= 0.5


@pytest.mark.parametrize("sampling", ["uniform", "random", "consecutive"])
@pytest.mark.parametrize("frames", [1, 2, 5])
def test_a_short_video_has_fewer_references(sampling: str, frames: int) -> None:
    config = ReferenceConfig(count=5, side=32, sampling=sampling)  # type: ignore[arg-type]
    for t, others in read_by(config, frames):
        alone = [n for n in range(frames) if n != t] or [t]
        assert others == (alone if sampling == "consecutive" else list(range(frames)))


def test_without_co_attention_only_the_frame_itself_is_embedded() -> None:
    stand_in, video = Brightness(alone=True), Levels(9)
    list(segment_by_references(video, stand_in, ReferenceConfig(side=32)))  # type: ignore[arg-type]
    assert video.read == list(range(9)) and stand_in.embedded == 9


@pytest.mark.parametrize("fusion", ["summary", "prediction"])
def test_maps_are_the_networks(fusion: str) -> None:
    network, video = small(), Levels(4, (44, 60))
    config = ReferenceConfig(count=2, side=32, fusion=fusion)  # type: ignore[arg-type]
    found = list(segment_by_references(video, network, config))
    v = network.embed(torch.stack([square(frame, 32) for frame in video]).float() / 255)
    for t in range(4):
        expected = network.probability(v[t], v[[1, 3]], fusion == "prediction").detach().numpy()
        assert np.abs(found[t][5::11, 7::15] - expected).max() < 1e-3  # at the middles of cells
    assert not network.training


def test_a_video_is_cut_where_its_maps_say() -> None:
    video, config = Levels(11), ReferenceConfig(side=32)
    plain = list(segment_by_references(video, Brightness(), config))  # type: ignore[arg-type]
    config.cut = "expected"
    moved = list(segment_by_references(video, Brightness(), config))  # type: ignore[arg-type]
    cut = expected_cut(map_hw[::8, ::8] for map_hw in plain)
    assert cut < 0.5
    assert np.allclose(moved, [recut(map_hw, cut) for map_hw in plain], atol=1e-6)


@pytest.mark.parametrize(("name", "value"), [("count", 0), ("side", 8), ("seed", -1)])
def test_settings_out_of_range(name: str, value: int) -> None:
    with pytest.raises(InputError, match=f"--reference.{name} {value}: must be at least"):
        next(segment_by_references(Levels(2), small(), ReferenceConfig(**{name: value})))


# --- as a user types it ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attention", ["symmetric", "none"])
def test_the_command_segments(moving_squares, tmp_path: Path, attention: str) -> None:  # type: ignore[no-untyped-def]
    FORMAT.save(tmp_path / "cosnet.safetensors", small(attention), {})
    root = moving_squares(videos=1, frames=3)
    words = ["segment", root, "--system", "cosnet", "--weights", tmp_path / "cosnet.safetensors", "--device", "cpu"]
    words += ["--reference.side", 32, "--reference.sampling", "consecutive", "--out", tmp_path / "out"]
    assert main([str(word) for word in words]) == 0
    assert len(list((tmp_path / "out/square0").iterdir())) == 3


def test_no_references_are_refused(moving_squares, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    words = ["segment", str(moving_squares(videos=1, frames=2)), "--system", "cosnet", "--reference.count", "0"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    assert "--reference.count 0: must be at least 1; without references, train with" in capsys.readouterr().err
