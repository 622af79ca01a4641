"""Objects told apart, from frames to indexed masks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from downstream.instances import tracks as instances
from downstream.instances.options import InstanceConfig
from downstream.instances.proposals import Proposal
from downstream.instances.tracks import Instances, enlarged, ranking, renamed, scores_of
from downstream.scoring.unsupervised import score_unsupervised
from mug.checkpoint import save_weights
from mug.cli import main
from mug.errors import InputError
from mug.media.masks import read_mask, write_mask
from mug.media.video import Video, find_videos
from mug.model import MuG
from mug.options import BackboneConfig, ModelConfig
from mug.synth.videos import SynthOptions, synth

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("scene")
    synth(SynthOptions(root, videos=1, frames=10, height=96, width=144, objects="3", seed=4))
    return root


def blank(video: Video) -> Iterator[np.ndarray]:
    """An object-level map that knows nothing: motion has to tell."""
    return (np.zeros(video.size, np.float32) for _ in range(len(video)))


def test_moving_objects_are_told_apart_and_scored(scene: Path, tmp_path: Path) -> None:
    (video,) = find_videos(scene)
    masks = list(Instances(InstanceConfig(size=96), CPU)(video, blank(video)))
    assert len(masks) == len(video)
    for name, mask in zip(video.frame_names, masks, strict=True):
        assert mask.shape == tuple(video.size) and mask.dtype == np.uint8
        write_mask(tmp_path / video.name / f"{name}.png", mask)
    assert score_unsupervised(scene, tmp_path)["J&F"]["mean"] > 0.6
    again = list(Instances(InstanceConfig(size=96), CPU)(video, blank(video)))
    assert all(np.array_equal(a, b) for a, b in zip(masks, again, strict=True))
    few = list(Instances(InstanceConfig(size=96, tracks=1), CPU)(video, blank(video)))
    assert set(np.unique(few)) == {0, 1}
    assert all(np.array_equal(a == 1, b == 1) for a, b in zip(masks, few, strict=True))


def test_a_detector_sees_frames_in_their_own_size(scene: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (video,) = find_videos(scene)
    seen = []

    def detect(frame: np.ndarray, others: object, foreground: np.ndarray, flow: object) -> list[Proposal]:
        assert foreground.shape == frame.shape[:2]
        seen.append(frame)
        mask = np.zeros(frame.shape[:2], bool)
        mask[20:60, 30:90] = True
        return [Proposal(mask, 0.9)]

    monkeypatch.setattr("downstream.instances.detector.load_detector", lambda path, device: detect)
    config = InstanceConfig(size=48, detector=Path("weights"))
    masks = list(Instances(config, CPU)(video, (np.ones(video.size, np.float32) for _ in range(len(video)))))
    assert len(seen) == len(video)  # each once, in order
    assert all(np.array_equal(ours, frame) for ours, frame in zip(seen, video, strict=True))
    for mask in masks:
        assert mask.shape == video.size
        assert (mask[22:58, 32:88] == 1).all() and (mask == 1).sum() == pytest.approx(40 * 60, rel=0.05)


def test_the_objects_of_the_first_frame_can_be_carried(scene: Path) -> None:
    (video,) = find_videos(scene)
    drawn: list[int] = []
    given: list[np.ndarray] = []

    def maps() -> Iterator[np.ndarray]:
        for t in range(len(video)):
            drawn.append(t)
            yield np.zeros(video.size, np.float32)

    def carrier(seen: Video, first: np.ndarray) -> Iterator[np.ndarray]:
        given.append(first)
        yield from (first for _ in seen)

    linked = next(Instances(InstanceConfig(size=96), CPU)(video, blank(video)))
    carried = list(Instances(InstanceConfig(size=96, propagate=True), CPU, carrier)(video, maps()))
    assert len(carried) == len(video) and len(given) == 1
    assert np.array_equal(given[0] > 0, linked > 0)
    assert drawn == list(range(len(video)))  # all maps were made, for those who keep them


@pytest.mark.parametrize("merge", [True, False])
def test_carried_objects_take_the_outline_of_each_frames_mask(scene: Path, merge: bool) -> None:
    (video,) = find_videos(scene)
    outlines = [np.zeros(video.size, np.float32) for _ in video]
    for t, map_hw in enumerate(outlines):
        map_hw[:, : 80 + 4 * t] = 0.9

    def carrier(seen: Video, first: np.ndarray) -> Iterator[np.ndarray]:
        yield from (np.full_like(first, 3) for _ in seen)

    config = InstanceConfig(size=96, propagate=True, merge=merge)
    carried = list(Instances(config, CPU, carrier)(video, iter(outlines)))
    assert len(carried) == len(video)
    for mask, map_hw in zip(carried, outlines, strict=True):
        assert np.array_equal(mask == 3, (map_hw > 0.5) | (not merge))


@pytest.mark.parametrize("frames", [1, 3])
def test_short_videos_without_motion_are_background(moving_squares: Callable[..., Path], frames: int) -> None:
    (video,) = find_videos(moving_squares(videos=1, frames=frames) / "JPEGImages" / "480p" / "square0")
    still = Instances(InstanceConfig(size=48, propagate=True), CPU, lambda *_: pytest.fail("nothing to carry"))
    masks = (
        list(still(video, blank(video))) if frames == 1 else list(Instances(InstanceConfig(), CPU)(video, blank(video)))
    )
    assert len(masks) == frames
    if frames == 1:
        assert not np.any(masks)


def test_memory_does_not_grow_with_the_video(
    monkeypatch: pytest.MonkeyPatch, moving_squares: Callable[..., Path]
) -> None:
    monkeypatch.setattr(instances, "WARM_UP", 3)
    monkeypatch.setattr(instances, "HELD", 7)
    most = 0
    look = instances._Scene._look

    def watched(self: instances._Scene, index: int) -> tuple[np.ndarray, np.ndarray]:
        nonlocal most
        seen = look(self, index)
        most = max(most, len(self._seen), len(self._proposed))
        return seen

    monkeypatch.setattr(instances._Scene, "_look", watched)
    (video,) = find_videos(moving_squares(videos=1, frames=20) / "JPEGImages" / "480p" / "square0")
    assert len(list(Instances(InstanceConfig(), CPU)(video, blank(video)))) == 20
    assert most <= 8


def test_ranks_names_and_sizes() -> None:
    labels = np.array([[0, 5, 5, 5, 5], [9, 0, 7, 0, 0]], np.int32)
    foreground = np.array([[1, 1, 1, 1, 1], [1, 0, 0.25, 0, 0]])
    scores = scores_of(labels, foreground)
    assert scores == {5: 2.0, 7: 0.5, 9: 1.0}
    assert ranking(scores, 2) == {5: 1, 9: 2}
    assert renamed(labels, {5: 1, 9: 2}).tolist() == [[0, 1, 1, 1, 1], [2, 0, 0, 0, 0]]
    assert renamed(labels, {12: 1}).max() == 0
    mask = np.kron(np.array([[1, 1, 0], [2, 2, 0]], np.uint8), np.ones((4, 4), np.uint8))
    large = enlarged(mask, (16, 24))
    assert large.shape == (16, 24) and large.dtype == np.uint8
    assert np.array_equal(large, np.kron(mask, np.ones((2, 2), np.uint8)))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "untrained.safetensors"
    save_weights(path, MuG(ModelConfig(backbone=BackboneConfig(depth=18, stages=2, stride=8))).eval(), {})
    return path


def segment(scene: Path, weights: Path, out: Path, *arguments: str) -> int:
    words = ["--weights", str(weights), "--out", str(out), "--mode", "paper", "--size", "48", "--device", "cpu"]
    return main(["segment", str(scene), *words, "--instances", "--instance.size", "96", *arguments])


@pytest.mark.parametrize("way", [[], ["--instance.propagate"]])
def test_the_command_writes_ids_and_what_else_is_asked_for(
    scene: Path, weights: Path, tmp_path: Path, way: list[str]
) -> None:
    assert segment(scene, weights, tmp_path / "out", "--soft", "--overlay", *way) == 0
    (video,) = find_videos(scene)
    paths = sorted((tmp_path / "out" / video.name).iterdir())
    assert [path.stem for path in paths] == list(video.frame_names)
    assert len(list((tmp_path / "out" / "soft" / video.name).iterdir())) == len(video)
    assert (tmp_path / "out" / f"{video.name}.mp4").stat().st_size > 0
    ids = set(np.unique(np.stack([read_mask(path) for path in paths]))) - {0}
    assert ids and ids <= set(range(1, 21))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--instance.tracks", "21"], "--instance.tracks 21"),
        (["--instance.size", "8"], "--instance.size 8"),
        (["--instance.detector", "none.pth"], "none.pth: no such file"),
        (["--instance.raft", "none.pth"], "none.pth: no such file"),
    ],
)
def test_bad_settings_are_one_line(
    scene: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert segment(scene, weights, tmp_path / "out", *arguments) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_more_tracks_than_the_benchmark_takes_are_refused() -> None:
    with pytest.raises(InputError, match="must be 1 to 20"):
        Instances(InstanceConfig(tracks=21), CPU)
