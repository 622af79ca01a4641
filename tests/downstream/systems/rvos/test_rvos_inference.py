"""Videos with RVOS: objects found, and objects carried."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from downstream.systems.rvos.inference import carry, segment, strongest
from downstream.systems.rvos.network import FORMAT, RVOS, Decoded
from mug.cli import main
from mug.media.video import Video
from tests.downstream.systems.rvos.dense import small
from tests.mug.media.streams import served

Squares = Callable[..., Path]
SHAPE = (32, 48)


class Noise(Video):
    """Frames of noise."""

    def __init__(self, frames: int, size: tuple[int, int] = (40, 56)) -> None:
        self.path, self.name, self.fps, self.size = Path("noise"), "noise", 24.0, size
        self.frame_names = [f"{t:05d}" for t in range(frames)]

    def _frame(self, index: int) -> np.ndarray:
        return np.random.default_rng(index).integers(0, 256, (*self.size, 3), np.uint8)


def see(network: RVOS, frame: np.ndarray) -> list[Tensor]:
    small_hwc = cv2.resize(frame, SHAPE[::-1], interpolation=cv2.INTER_AREA)
    return network.see(torch.from_numpy(small_hwc).permute(2, 0, 1)[None].float() / 255)


def resized(x_nhw: Tensor, size: tuple[int, int]) -> Tensor:
    return torch.nn.functional.interpolate(x_nhw[None], size, mode="bilinear", align_corners=True)[0]


class Script(torch.nn.Module):
    """Stands in for RVOS: shows prepared logits (n, H, W), and notes what it is given."""

    def __init__(self, logits: list[Tensor], stops: list[list[float]] | None = None) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))
        self.logits, self.stops = logits, stops
        self.seen: list[tuple[Any, ...]] = []

    def see(self, frames: Tensor) -> list[Tensor]:
        return [frames]

    def decode(
        self, gates: object, size: object, count: int, hidden: Any = None, masks_bnhw: Tensor | None = None
    ) -> Decoded:
        t = len(self.seen)
        self.seen.append((count, hidden, None if masks_bnhw is None else masks_bnhw[0].clone()))
        stops = None if self.stops is None else torch.tensor(self.stops[t])[None].logit()
        return Decoded(self.logits[t][None, :count], [torch.full((1,), float(t))], stops)


# --- zero-shot -------------------------------------------------------------------------------------------------------


def test_maps_and_ids_of_every_frame_come_from_the_network_with_its_states() -> None:
    network, video = small(task="zero-shot"), Noise(4)
    found = list(segment(video, network, SHAPE, 3, 0.0))
    assert len(found) == 4
    hidden = None
    with torch.no_grad():
        for frame, (likely, ids) in zip(video, found, strict=True):
            out = network.decode(see(network, frame), SHAPE, 3, hidden)
            hidden = out.hidden
            maps = resized(out.logits[0], video.size).sigmoid().numpy()
            assert likely.dtype == np.float32 and ids.dtype == np.uint8
            np.testing.assert_allclose(likely, maps.max(0), atol=1e-6)
            assert np.array_equal(ids, np.where(maps.max(0) > 0.5, maps.argmax(0) + 1, 0))
    assert {1, 2, 3} & set(np.unique([ids for _, ids in found]))


@pytest.mark.parametrize(("threshold", "kept"), [(0.5, (1, 0)), (0.0, (3, 3)), (0.15, (3, 1))])
def test_objects_end_at_the_first_low_stop_score(threshold: float, kept: tuple[int, int]) -> None:
    logits = torch.full((3, *SHAPE), -9.0)
    for i in range(3):
        logits[i, 10 * i : 10 * i + 8] = 9
    script = Script([logits] * 2, [[0.9, 0.2, 0.8], [0.4, 0.1, 0.9]])
    found = list(segment(Noise(2, SHAPE), script, SHAPE, 3, threshold))  # type: ignore[arg-type]
    for (likely, ids), number in zip(found, kept, strict=True):
        assert set(np.unique(ids)) == set(range(number + 1))
        assert np.array_equal(likely > 0.5, ids > 0)
    assert [count for count, _, _ in script.seen] == [3, 3]
    assert script.seen[0][1] is None and script.seen[1][1][0] == 0  # the states of all go on


def test_without_stop_scores_all_predictions_are_kept() -> None:
    logits = torch.full((2, *SHAPE), -9.0)
    logits[1, :9] = 9
    ((_, ids),) = segment(Noise(1, SHAPE), Script([logits]), SHAPE, 2, 1.0)  # type: ignore[arg-type]
    assert (ids[:9] == 2).all() and not ids[9:].any()


def test_the_strongest_object_at_each_pixel() -> None:
    logits = torch.randn(20, 6, 7)
    best, which = strongest(logits, (30, 31))
    full = resized(logits, (30, 31))
    torch.testing.assert_close(best, full.amax(0))
    assert torch.equal(which, full.argmax(0))
    nothing, _ = strongest(logits[:0], (3, 4))
    assert (nothing == -torch.inf).all()


# --- one-shot --------------------------------------------------------------------------------------------------------


def test_objects_are_carried_by_their_own_soft_masks() -> None:
    """Ids 3 and 7 in the first frame of a real network, at the size of the video."""
    network, video = small(), Noise(4)
    mask = np.zeros(video.size, np.uint8)
    mask[5:20, 5:20], mask[20:35, 30:50], mask[0, :] = 7, 3, 255
    found = list(carry(video, {"00000": mask}, network, SHAPE))
    assert [x.shape for x in found] == [video.size] * 4
    assert np.array_equal(found[0], np.where(mask == 255, 0, mask))
    nearest = torch.from_numpy(cv2.resize(mask, SHAPE[::-1], interpolation=cv2.INTER_NEAREST))
    first = torch.stack([nearest == 3, nearest == 7])[None].float()
    shown, hidden = first, None
    with torch.no_grad():
        for t, frame in enumerate(video):
            out = network.decode(see(network, frame), SHAPE, 2, hidden, shown)
            hidden, shown = out.hidden, first if t == 0 else out.logits.sigmoid()
            if t == 0:
                continue
            full = resized(out.logits[0], video.size)
            expected = np.where(full.amax(0) > 0, np.array([3, 7])[full.argmax(0)], 0)
            assert np.array_equal(found[t], expected)


def test_objects_may_come_later_and_be_given_again() -> None:
    logits = torch.full((2, *SHAPE), -4.0)
    logits[0, :20, :20] = 4
    script = Script([logits[:1], logits, logits, logits])
    masks = {name: np.zeros(SHAPE, np.uint8) for name in ("00001", "00002", "00003")}
    masks["00001"][:10, :10] = 9
    masks["00002"][15:25, 15:25] = 5
    masks["00003"][28:, :] = 9
    found = list(carry(Noise(5, SHAPE), masks, script, SHAPE))  # type: ignore[arg-type]
    assert not found[0].any() and len(script.seen) == 4  # nothing before the first mask
    assert np.array_equal(found[1], masks["00001"])
    counts, states, shown = zip(*script.seen, strict=True)
    assert counts == (1, 2, 2, 2)
    assert states[0] is None and [float(x[0]) for x in states[1:]] == [0, 1, 2]
    nine, five = torch.from_numpy(masks["00001"] == 9).float(), torch.from_numpy(masks["00002"] == 5).float()
    again, own = torch.from_numpy(masks["00003"] == 9).float(), logits.sigmoid()
    assert torch.equal(shown[0], nine[None])
    assert torch.equal(shown[1], torch.stack([nine, five]))  # object 9 still from its given mask
    assert torch.equal(shown[2], torch.stack([again, five]))
    assert torch.equal(shown[3], torch.stack([again, own[1]]))
    expected = np.zeros(SHAPE, np.uint8)
    expected[:20, :20] = 9
    expected[15:25, 15:25] = 5  # the given mask covers what is carried
    assert np.array_equal(found[2], expected)
    assert np.array_equal(found[3], np.where(masks["00003"] == 9, 9, 0))  # its carried mask is dropped
    assert np.array_equal(found[4][:20, :20], np.full((20, 20), 9)) and found[4].sum() == 9 * 400


# --- as a user types it ----------------------------------------------------------------------------------------------


@pytest.fixture
def weights(tmp_path: Path) -> Callable[[str], Path]:
    def make(task: str) -> Path:
        path = tmp_path / f"{task}.safetensors"
        FORMAT.save(path, small(task=task), {"options": json.dumps({"sample": {"size": 32, "width": 48}})})
        return path

    return make


def pictures(folder: Path) -> list[np.ndarray]:
    return [np.asarray(Image.open(path)) for path in sorted(folder.iterdir())]


@pytest.mark.parametrize("frames", [1, 3])
def test_instances_are_those_of_the_network(
    moving_squares: Squares, weights: Callable[[str], Path], tmp_path: Path, frames: int
) -> None:
    root, path = moving_squares(videos=1, frames=frames, height=50, width=70), weights("zero-shot")
    words = ["segment", root, "--system", "rvos", "--weights", path, "--device", "cpu", "--stop", 0, "--objects", 4]
    assert main([*(str(word) for word in words), "--out", str(tmp_path / "ids"), "--instances"]) == 0
    assert main([*(str(word) for word in words), "--out", str(tmp_path / "map")]) == 0
    from mug.media.video import open_video

    video = open_video(root / "JPEGImages/480p/square0")
    found = list(segment(video, FORMAT.load(path)[0], SHAPE, 4, 0.0))
    ids, maps = pictures(tmp_path / "ids/square0"), pictures(tmp_path / "map/square0")
    assert len(ids) == len(maps) == frames
    for (likely, expected), mask, whole in zip(found, ids, maps, strict=True):
        assert np.array_equal(mask, expected)
        assert np.array_equal(whole, likely > 0.5)
    assert np.max(ids) > 0


@pytest.mark.parametrize("words", [["--instances"], ["--refine", "guided"]], ids=" ".join)
def test_a_stream_is_segmented_as_it_comes(weights: Callable[[str], Path], tmp_path: Path, words: list[str]) -> None:
    how = ["--system", "rvos", "--weights", str(weights("zero-shot")), "--device", "cpu", *words]
    with served(recording=4) as url:
        assert main(["segment", url, "--out", str(tmp_path), *how]) == 0
    assert [mask.shape for mask in pictures(tmp_path / "door")] == [(48, 64)] * 4


def test_frames_get_the_size_of_training_or_another(
    moving_squares: Squares, weights: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[tuple[int, ...]] = []
    see_ = RVOS.see

    def watched(self: RVOS, frames: Tensor) -> list[Tensor]:
        sizes.append(tuple(frames.shape[2:]))
        return see_(self, frames)

    monkeypatch.setattr(RVOS, "see", watched)
    root = moving_squares(videos=1, frames=1)
    words = ["segment", str(root), "--system", "rvos", "--weights", str(weights("zero-shot")), "--overwrite"]
    for more in ([], ["--size", "64"], ["--size", "40", "--width", "72"]):
        assert main([*words, "--out", str(tmp_path / "out"), *more]) == 0
    assert sizes == [(32, 48), (64, 48), (40, 72)]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--objects", "0"), "--objects 0: must be 1 to 20"),
        (("--objects", "21"), "--objects 21: must be 1 to 20"),
        (("--stop", "1.5"), "--stop 1.5: must be 0 to 1"),
        (("--size", "8"), "--size 8: must be at least 32"),
        (("--width", "8"), "--width 8: must be at least 32"),
        (("--instance.tracks", "3"), "--instance.tracks: has no effect here: says how objects are told apart"),
        (("--instances", "--instance.tracks", "3"), "--instance.tracks: has no effect here: rvos tells objects apart"),
        (("--instances", "--refine", "guided"), "--refine: has no effect here: rvos tells objects apart"),
        (("--instances", "--raw"), "--raw: has no effect here: rvos tells objects apart"),
        (("--instances", "--soft"), "--soft: has no effect here: rvos tells objects apart"),
    ],
)
def test_options_out_of_range_or_without_effect_are_refused(
    moving_squares: Squares,
    weights: Callable[[str], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    told: str,
) -> None:
    root, out = moving_squares(videos=1, frames=1), tmp_path / "out"
    line = ["segment", root, "--system", "rvos", "--weights", weights("zero-shot"), "--out", out, *words]
    assert main([str(word) for word in line]) == 2
    assert told in capsys.readouterr().err.strip().splitlines()[-1]
    assert not out.exists()


@pytest.mark.parametrize(("command", "other", "right"), [
    ("segment", "one-shot", "zero-shot"), ("propagate", "zero-shot", "one-shot"),
])  # fmt: skip
def test_weights_of_the_other_task_are_refused_by_name(
    moving_squares: Squares,
    weights: Callable[[str], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: str,
    other: str,
    right: str,
) -> None:
    root = moving_squares(videos=1, frames=1)
    line = [command, root, "--system", "rvos", "--weights", weights(other), "--out", tmp_path / "out"]
    assert main([str(word) for word in line]) == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert (
        f"{other}.safetensors: is for the task {other}; give weights of `mug finetune rvos --model.task {right}`"
        in told
    )


def test_frames_are_read_once_and_masks_come_at_once(weights: Callable[[str], Path]) -> None:
    """As a stream: the mask of a frame comes before the next frame is read."""
    read: list[int] = []

    class Stream(Noise):
        def __iter__(self) -> Iterator[np.ndarray]:
            for index in range(len(self)):
                read.append(index)
                yield self._frame(index)

    mask = np.ones((40, 56), np.uint8)
    for count, _ in enumerate(carry(Stream(3), {"00000": mask}, small(), SHAPE), 1):
        assert read == list(range(count))
