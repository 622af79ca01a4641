"""Training samples: frames read from disk, with their labels and randomly drawn augmentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from mug.errors import InputError
from mug.media.masks import read_soft
from mug.media.pictures import read_frame
from mug.model import Batch
from mug.run.optimise import Key
from pretrain.augment import CANVAS, Changes, boxes, draw_changes, render
from pretrain.sampling import SampleOptions, draw_frames
from pretrain.training_video import TrainingVideo


@dataclass
class RawBatch:
    """N samples as read from disk, small enough to be sent to a device."""

    tensors: dict[str, Tensor]
    """canvas uint8 (N, F, 3, C, C); labels uint8 (N, F - K, C, C); labelled bool (N, F - K); theta (N, F, 2, 3) into
    the canvases; warp (N, K, 2, 3); colour (N, F, 3, 3); contrast, blur (N, F); patch, pair int64 (N, 2)."""
    names: list[str]
    """Names of the videos."""
    bad: list[str]
    """Error messages of files that could not be read and were replaced or left out."""
    size: int
    """Side of the training frames in pixels."""

    def to(self, device: torch.device | str, non_blocking: bool = True) -> RawBatch:
        """The samples on another device."""
        moved = {name: tensor.to(device, non_blocking=non_blocking) for name, tensor in self.tensors.items()}
        return RawBatch(moved, self.names, self.bad, self.size)

    def pin_memory(self) -> RawBatch:
        """The samples in pinned memory; called by the data loader."""
        return RawBatch({k: t.pin_memory() for k, t in self.tensors.items()}, self.names, self.bad, self.size)

    def augment(self, stride: int) -> Batch:
        """Makes the training batch on the device of the samples; `stride` is that of phi."""
        return render(self.tensors, self.names, self.size, stride)


class TrainingSamples(Dataset[dict[str, Any]]):
    """Sample i of step s of round r, for any (r, s, i); it depends only on these and the seed.

    The videos of a step are distinct if there are enough; every video is used about equally often. An unreadable frame
    is replaced by the nearest readable one.

    Args:
        videos: The index of training videos.
        labels: Folders of soft maps `<video>/<frame>.png` with their weights. The target of a frame is the weighted
            mean of its maps (MuG Eq. 15 with its alpha; cross-entropy is linear in the target).
        options: Contents of a sample.
        batch: N, the number of videos per step.
        seed: Seed of the run.
        label_stride: Every `label_stride`-th frame has a label.
    """

    def __init__(
        self,
        videos: Sequence[TrainingVideo],
        labels: Mapping[Path, float],
        options: SampleOptions,
        batch: int,
        seed: int,
        label_stride: int = 1,
    ) -> None:
        self.videos, self.labels, self.options = videos, dict(labels), options
        self.batch, self.seed, self.label_stride = batch, seed, label_stride

    def __getitem__(self, key: Key) -> dict[str, Any]:
        """The sample of a key (round, step, i)."""
        rng = np.random.default_rng([self.seed, *key])
        return load_sample(self.video(key), self.labels, self.options, self.label_stride, rng)

    def video(self, key: Key) -> TrainingVideo:
        """The video of a sample: successive steps go through random permutations of all videos."""
        number, step, i = key
        steps = max(1, len(self.videos) // self.batch)  # the remainder of each permutation is not used
        order = np.random.default_rng([self.seed, number, step // steps, 2**32 - 1]).permutation(len(self.videos))
        return self.videos[int(order[(step % steps * self.batch + i) % len(order)])]


def load_sample(
    video: TrainingVideo,
    labels: Mapping[Path, float],
    options: SampleOptions,
    label_stride: int,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Draws and reads one sample.

    Returns:
        The entries of `RawBatch.tensors` without N, and `name`, `bad` and `size`.

    Raises:
        InputError: no frame of the video can be read.
    """
    drawn = draw_frames(len(video), options.abstract, options.references, label_stride, rng)
    changes = draw_changes(video.size, options, rng)
    numbers = [*drawn.clip, *drawn.abstract, drawn.instance, *drawn.references, *drawn.abstract]
    box, theta = boxes(changes.theta)
    reader = _Reader(video, box, numbers, round(CANVAS * options.size))
    canvas = np.stack([reader.cut(n, b) for n, b in zip(numbers, box, strict=True)])
    plain = len(numbers) - options.abstract  # all but the warped copies of the abstract
    maps = [reader.cut_label(n, b, labels) for n, b in zip(numbers[:plain], box[:plain], strict=True)]
    empty = np.zeros((reader.side, reader.side), np.uint8)
    return {
        "canvas": torch.from_numpy(canvas.transpose(0, 3, 1, 2)),
        "labels": torch.from_numpy(np.stack([empty if m is None else m for m in maps])),
        "labelled": torch.tensor([m is not None for m in maps]),
        "theta": torch.from_numpy(theta.astype(np.float32)),
        **_tensors(changes),
        "pair": torch.from_numpy(drawn.pair.astype(np.int64)),
        "name": video.name,
        "bad": reader.bad,
        "size": options.size,
    }


def collate(samples: Sequence[Mapping[str, Any]]) -> RawBatch:
    """Combines samples into a `RawBatch`."""
    tensors = {
        name: torch.stack([sample[name] for sample in samples])
        for name, value in samples[0].items()
        if isinstance(value, Tensor)
    }
    bad = [line for sample in samples for line in sample["bad"]]
    return RawBatch(tensors, [sample["name"] for sample in samples], bad, samples[0]["size"])


class _Reader:
    """Crops boxes from the frames and labels of a video; each frame is read once and no larger than needed."""

    def __init__(self, video: TrainingVideo, box: np.ndarray, numbers: Sequence[int], side: int) -> None:
        self.video, self.side = video, side
        self.bad: list[str] = []
        height, width = video.size
        # shorter side that a frame needs for its smallest box to fill the canvas
        sides = np.minimum((box[:, 2] - box[:, 0]) * width, (box[:, 3] - box[:, 1]) * height)
        need = np.ceil(side * min(video.size) / sides).astype(int)
        self._shorter = {n: int(max(need[[m == n for m in numbers]])) for n in set(numbers)}
        self._read: dict[int, tuple[int, Image.Image]] = {}

    def cut(self, number: int, box: np.ndarray) -> np.ndarray:
        """(side, side, 3) uint8: a box of a frame, given as shares of width and height."""
        if number not in self._read:
            self._read[number] = self._nearest_readable(number)
        return self._resize(self._read[number][1], box)

    def cut_label(self, number: int, box: np.ndarray, labels: Mapping[Path, float]) -> np.ndarray | None:
        """(side, side) uint8: the same for the label of a frame that `cut` has read; None if it has no label."""
        name = self.video.frame_name(self._read[number][0])
        total, weights = np.zeros((self.side, self.side)), 0.0
        for folder, weight in labels.items():
            path = folder / self.video.name / f"{name}.png"
            if weight and path.is_file():
                try:
                    soft = read_soft(path)
                except InputError as error:
                    self.bad.append(str(error))
                    continue
                total += weight * self._resize(Image.fromarray(soft), box)
                weights += weight
        return np.rint(total / weights).astype(np.uint8) if weights else None

    def _resize(self, image: Image.Image, box: np.ndarray) -> np.ndarray:
        left, top, right, bottom = box * np.array([image.width, image.height] * 2)
        size = (self.side, self.side)
        return np.asarray(image.resize(size, Image.Resampling.BILINEAR, (left, top, right, bottom)))

    def _nearest_readable(self, number: int) -> tuple[int, Image.Image]:
        for other in [number, *sorted(range(len(self.video)), key=lambda n: abs(n - number))[1:]]:
            try:
                return other, Image.fromarray(read_frame(self.video.file(other), self._shorter[number]))
            except InputError as error:
                self.bad.append(str(error))
        raise InputError(f"{self.video.place}: none of its frames can be read any more; restore it, or leave it out")


def _tensors(changes: Changes) -> dict[str, Tensor]:
    """The changes as tensors, except theta, which has to refer to the canvases."""
    floats = {name: getattr(changes, name).astype(np.float32) for name in ("warp", "colour", "contrast", "blur")}
    return {name: torch.from_numpy(value) for name, value in (floats | {"patch": changes.patch}).items()}
