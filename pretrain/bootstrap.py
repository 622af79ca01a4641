"""Bootstrapping: the model relabels the training frames, and the next round starts from that (MuG Sec. 3.1, Eq. 15)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mug.backbone import Features
from mug.errors import InputError
from mug.masks import read_soft, write_soft
from mug.model import MuG
from mug.progress import track
from mug.refine import Refinement, refine
from mug.video import read_frame
from pretrain.options import LabelOptions
from pretrain.videos import TrainingVideo

CHUNK = 8
"""Frames that go through the network at once."""


@dataclass
class Relabelling:
    """How a model's predictions become labels."""

    stride: int
    """Every so many frames of a video get a label."""
    references: int
    """Frames, spread evenly over the video, from which each frame's global information comes."""
    size: int
    """Shorter side, in pixels, at which the model sees a frame."""
    refinement: Refinement = "guided"
    """How a prediction is sharpened by its frame."""
    binary: bool = True
    """Whether it is cut to foreground and background: the P-bar in {0, 1} of Eq. 15."""


def label_frames(video: TrainingVideo, stride: int) -> range:
    """The frames of a video that have a label."""
    return range(0, len(video), stride)


def label_path(folder: Path, video: TrainingVideo, index: int) -> Path:
    """Where the label of a frame lies."""
    return folder / video.name / f"{video.frame_name(index)}.png"


def label_weights(prior: Path, labels: Path, number: int, options: LabelOptions) -> dict[Path, float]:
    """The folders of maps that round `number` learns from, with the weight of each (MuG Eq. 15)."""
    if number == 1:
        return {prior: 1.0}
    kept, other = labels / f"round{number - 1}", prior
    if options.keep == "label":
        kept, other = other, kept
    return {kept: 1 - options.alpha, other: options.alpha}


def require_labels(folders: Iterable[Path], videos: Iterable[TrainingVideo], stride: int) -> None:
    """Refuses to train where a map is missing.

    Raises:
        InputError: naming the first map that is not there.
    """
    for folder in folders:
        for video in videos:
            for index in label_frames(video, stride):
                path = label_path(folder, video, index)
                if not path.is_file():
                    raise InputError(
                        f"{path}: this map is missing; give --labels a folder with a map for every frame in {stride} "
                        "(`mug prior` makes one), or start the run in a new folder"
                    )


def relabel(
    network: MuG, videos: Sequence[TrainingVideo], prior: Path, out: Path, how: Relabelling, device: torch.device
) -> None:
    """Writes what the readout v says of every label frame, an 8-bit map `out/<video>/<frame>.png` each.

    Predictions learned from noisy maps are unsure, and surest of background: cut at one half, foreground would vanish
    from round to round. So a video is cut where it keeps as much foreground as its initial maps Q have.

    Videos whose maps are all there already are passed over, so work that was stopped goes on where it was. The same
    model and videos give the same maps.
    """
    trained = network.training
    network.eval()
    for video in track(videos, "Relabelling"):
        indices = label_frames(video, how.stride)
        if all(label_path(out, video, index).is_file() for index in indices):
            continue
        predicted = _predict(network, video, indices, how, device)
        maps = np.stack([np.rint(255 * refine(frame, p, how.refinement)).astype(np.uint8) for _, frame, p in predicted])
        if how.binary:
            known = [label_path(prior, video, index) for index in indices]
            share = float(np.mean([(read_soft(path) >= 128).mean() for path in known if path.is_file()]))
            maps = np.where(_surest(maps, share), 255, 0).astype(np.uint8)
        for index, label in zip(indices, maps, strict=True):
            write_soft(label_path(out, video, index), label)
    network.train(trained)


def _surest(maps: np.ndarray, share: float) -> np.ndarray:
    """Where maps (uint8, any shape) are highest: at most `share` of them all, as levels are cut whole."""
    above = np.bincount(maps.ravel(), minlength=256)[::-1].cumsum() / maps.size  # share at 255, at 254 and above, ...
    return maps > 255 - np.searchsorted(above, share, side="right")


@torch.inference_mode()
def _predict(
    network: MuG, video: TrainingVideo, indices: Sequence[int], how: Relabelling, device: torch.device
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """(index, frame, foreground probability at the frame's size) of the frames asked for."""
    if not indices:
        return
    spread = np.linspace(0, len(video) - 1, min(how.references + 1, len(video))).round().astype(int).tolist()
    source = network.phi(_tensor([read_frame(video.file(i)) for i in spread], how.size, device))
    for start in range(0, len(indices), CHUNK):
        chunk = indices[start : start + CHUNK]
        frames = [read_frame(video.file(index)) for index in chunk]
        query = network.phi(_tensor(frames, how.size, device))
        others = torch.tensor([_others(spread, index) for index in chunk], device=device)
        probability = network.segment_frame(query, Features(*(x[others] for x in source)))
        probability = F.interpolate(probability, frames[0].shape[:2], mode="bilinear").clamp(0, 1)
        yield from zip(chunk, frames, probability[:, 0].cpu().numpy(), strict=True)


def _others(spread: list[int], index: int) -> list[int]:
    """Positions in `spread` of all frames but the nearest: none is its own reference, and all have equally many."""
    nearest = min(range(len(spread)), key=lambda position: abs(spread[position] - index))
    return [position for position in range(len(spread)) if position != nearest]


def _tensor(frames: Sequence[np.ndarray], size: int, device: torch.device) -> Tensor:
    """(B, 3, H, W) in [0, 1], the shorter side brought to `size`."""
    height, width = frames[0].shape[:2]
    scale = size / min(height, width)
    target = (round(width * scale), round(height * scale))
    small = [cv2.resize(frame, target, interpolation=cv2.INTER_AREA) for frame in frames]
    return torch.from_numpy(np.stack(small)).to(device).permute(0, 3, 1, 2).float() / 255
