"""Training samples from files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch.utils.data import DataLoader

from mug.errors import InputError
from mug.media.masks import write_soft
from pretrain.dataset import RawBatch, TrainingSamples, collate, load_sample
from pretrain.sampling import SampleOptions
from pretrain.training_video import FolderVideo

SMALL = SampleOptions(size=64, abstract=4, references=2)
PLAIN = SampleOptions(size=64, abstract=4, references=2, jitter=0, hue=0, grey=0, blur=0)


def smooth_frame(seed: int, size: tuple[int, int]) -> np.ndarray:
    """HWC uint8: broad waves, which survive JPEG and resampling."""
    phase = np.random.default_rng(seed).uniform(0, 6, 3)
    y, x = np.mgrid[: size[0], : size[1]] / 12
    waves = [np.sin(x + p) * np.cos(y - 2 * p) for p in phase]
    return np.rint(127 + 100 * np.stack(waves, -1)).astype(np.uint8)


def make_video(root: Path, name: str, frames: int = 40, size: tuple[int, int] = (96, 160)) -> FolderVideo:
    folder = root / name
    folder.mkdir(parents=True)
    names = tuple(f"{i:05d}.jpg" for i in range(frames))
    for i, file in enumerate(names):
        Image.fromarray(smooth_frame(i, size)).save(folder / file, quality=95)
    return FolderVideo(name, folder, names, size)


def make_labels(root: Path, video: FolderVideo, stride: int = 1) -> Path:
    """The red channel of each frame as its label."""
    for i in range(0, len(video), stride):
        write_soft(root / video.name / f"{video.frame_name(i)}.png", smooth_frame(i, video.size)[..., 0].copy())
    return root


@pytest.fixture
def videos(tmp_path: Path) -> list[FolderVideo]:
    return [make_video(tmp_path / "videos", f"v{i}", 12 + i) for i in range(5)]


def test_shapes(videos: list[FolderVideo]) -> None:
    samples = TrainingSamples(videos, {}, SMALL, batch=2, seed=0)
    raw = collate([samples[(0, 0, i)] for i in range(2)])
    batch = raw.augment(stride=8)
    assert batch.frames.shape == (2, 14, 3, 64, 64) and batch.frames.dtype == torch.float32
    assert batch.frames.min() >= 0 and batch.frames.max() <= 1
    assert batch.clip.shape[1] == 3 and batch.abstract.shape[1] == batch.warped.shape[1] == 4
    assert batch.instance.shape[1] == 1 and batch.references.shape[1] == 2
    assert batch.labels.shape == (2, 10, 8, 8) and batch.labels.isnan().all()
    assert batch.patch.shape == batch.pair.shape == (2, 2) and batch.patch.dtype == torch.int64
    assert batch.warp.shape == (2, 4, 2, 3) and batch.names == [samples.video((0, 0, i)).name for i in range(2)]
    assert raw.bad == []


def test_warped_are_the_abstract_frames_through_the_known_warps(tmp_path: Path) -> None:
    video = make_video(tmp_path, "v")
    for i in range(6):
        batch = collate([load_sample(video, {}, PLAIN, 1, np.random.default_rng(i))]).augment(8)
        abstract, warped = batch.abstract.flatten(0, 1), batch.warped.flatten(0, 1)
        grid = F.affine_grid(batch.warp.flatten(0, 1), list(abstract.shape), align_corners=False)
        expected = F.grid_sample(abstract, grid, align_corners=False)
        inside = (grid.abs() < 0.95).all(-1)[:, None].expand_as(expected)
        assert inside.float().mean() > 0.2
        assert (warped - expected)[inside].abs().mean() < 0.02
        assert (warped - abstract)[inside].abs().mean() > 0.05


def test_labels_follow_their_frames(tmp_path: Path) -> None:
    video = make_video(tmp_path / "videos", "v")
    folder = make_labels(tmp_path / "labels", video)
    for i in range(4):
        batch = collate([load_sample(video, {folder: 1.0}, PLAIN, 1, np.random.default_rng(i))]).augment(8)
        red = F.avg_pool2d(batch.frames[0, :-4, 0], 9, 8, 4, count_include_pad=False)  # around the cells' own pixels
        assert (batch.labels[0] - red)[:, 1:, 1:].abs().max() < 0.04  # the first ones reach out of the frame
        assert red.std() > 0.1


def test_label_stride_and_weights(tmp_path: Path) -> None:
    video = make_video(tmp_path / "videos", "a/b")
    full, empty = make_labels(tmp_path / "q", video, stride=4), tmp_path / "p"
    for i in range(0, 40, 8):
        write_soft(empty / video.name / f"{i:05d}.png", np.zeros(video.size, np.uint8))
    by_chance = weighted = 0
    for i in range(30):
        one, both = (
            load_sample(video, labels, PLAIN, 4, np.random.default_rng(i))
            for labels in ({full: 1.0}, {full: 0.25, empty: 0.75})
        )
        assert one["labelled"].tolist() == both["labelled"].tolist()
        assert one["labelled"][-2:].all()  # the references
        by_chance += int(one["labelled"][:-2].sum())
        ratio = (both["labels"].sum((1, 2)) / one["labels"].sum((1, 2)))[one["labelled"]]
        assert all(abs(r - 1) < 0.02 or abs(r - 0.25) < 0.02 for r in ratio.tolist())
        weighted += sum(abs(r - 0.25) < 0.02 for r in ratio.tolist())
    assert weighted > 20
    assert 40 < by_chance < 80  # a quarter of 30 x 8 others have one as well


def equal(first: RawBatch, second: RawBatch) -> bool:
    same = all(torch.equal(tensor, second.tensors[name]) for name, tensor in first.tensors.items())
    return same and first.names == second.names


def test_samples_depend_on_their_key_alone(videos: list[FolderVideo]) -> None:
    samples = TrainingSamples(videos, {}, SMALL, batch=2, seed=7)
    keys = [(1, step, i) for step in range(3) for i in range(2)]
    first = collate([samples[key] for key in keys])
    backwards = {key: samples[key] for key in reversed(keys)}
    assert equal(first, collate([backwards[key] for key in keys]))
    loader = DataLoader(samples, batch_sampler=[keys], collate_fn=collate, num_workers=2)
    assert equal(first, next(iter(loader)))
    for other in (
        TrainingSamples(videos, {}, SMALL, batch=2, seed=8)[(1, 0, 0)],
        samples[(2, 0, 0)],
        samples[(1, 1, 0)],
    ):
        assert not torch.equal(other["theta"], first.tensors["theta"][0])


def test_steps_hold_different_videos_and_use_all(videos: list[FolderVideo]) -> None:
    samples = TrainingSamples(videos, {}, SMALL, batch=2, seed=0)
    steps = [[samples.video((0, step, i)).name for i in range(2)] for step in range(100)]
    assert all(len(set(names)) == 2 for names in steps)
    used = [name for names in steps for name in names]
    counts = [used.count(video.name) for video in videos]
    assert min(counts) > 25
    crowded = TrainingSamples(videos, {}, SMALL, batch=8, seed=0)
    assert len({crowded.video((0, 0, i)).name for i in range(8)}) == 5


def test_unreadable_frames_are_replaced_and_named(tmp_path: Path) -> None:
    video = make_video(tmp_path / "videos", "v", frames=12)
    folder = make_labels(tmp_path / "labels", video)
    broken = video.file(5)
    broken.write_bytes(broken.read_bytes()[:500])
    (folder / "v" / "00007.png").write_bytes(b"nothing")
    bad = set()
    for i in range(20):
        sample = load_sample(video, {folder: 1.0}, SMALL, 1, np.random.default_rng(i))
        assert sample["canvas"].shape == (14, 3, 72, 72)
        bad |= {line.split(":")[0] for line in sample["bad"]}
    assert bad == {str(broken), str(folder / "v" / "00007.png")}
    for file in video.place.iterdir():
        file.unlink()
    with pytest.raises(InputError, match="none of its frames can be read"):
        load_sample(video, {}, SMALL, 1, np.random.default_rng(0))


def test_training_input_needs_no_heavy_package() -> None:
    heavy = "{'sklearn', 'av', 'cv2', 'lightning', 'pydensecrf'}"
    code = f"import sys, pretrain.dataset; print(*sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
