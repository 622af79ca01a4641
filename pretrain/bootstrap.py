"""Bootstrapping: the model relabels the training frames, and the next round starts from that (MuG Sec. 3.1, Eq. 15)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from mug.backbone import Features
from mug.errors import InputError
from mug.frames import to_tensor
from mug.granularity.frame import bootstrap_weights
from mug.grid import enlarge
from mug.media.masks import read_soft, write_soft
from mug.media.pictures import read_frame
from mug.media.refine import Refinement, recut, refine
from mug.model import MuG
from mug.run.progress import track
from pretrain.options import LabelOptions
from pretrain.videos import TrainingVideo

CHUNK = 8
"""Frames that go through the network at once."""
LEAST_CUT = 1e-6
"""Where a prior is foreground everywhere; what is surely background stays so."""


@dataclass
class Relabelling:
    """How a model's predictions become labels."""

    stride: int
    """Every so many frames of a video get a label."""
    references: int
    """Frames, spread evenly over the video, from which each frame's global information comes."""
    size: int
    """Shorter side, in pixels, at which the model sees a frame."""
    squeeze: bool = False
    """Whether frames are squeezed into a square of that side, as in training with `sample.squeeze`."""
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
    of_label, of_prediction = bootstrap_weights(options.alpha, options.keep)
    return {prior: of_label, labels / f"round{number - 1}": of_prediction}


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
    from round to round. So the odds of a video's predictions are scaled until one half is where it keeps as much
    foreground as its initial maps Q have; more where more than that is likelier foreground than not. Refinement comes
    after that and is cut at one half: what a CRF gives is nearly 0 or 1, which leaves no other place to cut.

    Videos whose maps are all there already are passed over, so work that was stopped goes on where it was. The same
    model and videos give the same maps.
    """
    trained = network.training
    network.eval()
    for video in track(videos, "Relabelling"):
        indices = label_frames(video, how.stride)
        if all(label_path(out, video, index).is_file() for index in indices):
            continue
        predicted = np.stack(list(_predict(network, video, indices, how, device)))
        if how.binary:
            known = [label_path(prior, video, index) for index in indices]
            share = float(np.mean([(read_soft(path) >= 128).mean() for path in known if path.is_file()]))
            predicted = recut(predicted, _cut(predicted, share))
        for index, cells in zip(indices, predicted, strict=True):
            frame = read_frame(video.file(index))
            wide = enlarge(
                torch.from_numpy(cells)[None, None], frame.shape[:2], _seen_size(frame, how), network.phi.stride
            )
            soft = refine(frame, wide[0, 0].clamp(0, 1).numpy(), how.refinement)
            label = 255 * (soft > 0.5) if how.binary else np.rint(255 * soft)
            write_soft(label_path(out, video, index), label.astype(np.uint8))
    network.train(trained)


def _cut(predicted: np.ndarray, share: float) -> float:
    """The probability above which lies at least `share` of the values, equal ones together; 0.5 where that is more."""
    values = np.sort(predicted, axis=None)
    least = values[len(values) - int(np.ceil(share * len(values)))] if share > 0 else np.inf
    kept = values >= least
    above, below = values[kept].min(initial=1.0), values[~kept].max(initial=0.0)
    return min(max(float(above + below) / 2, LEAST_CUT), 0.5)


@torch.inference_mode()
def _predict(
    network: MuG, video: TrainingVideo, indices: Sequence[int], how: Relabelling, device: torch.device
) -> Iterator[np.ndarray]:
    """Foreground probability (h, w) of the frames asked for, in the cells of phi."""
    spread = np.linspace(0, len(video) - 1, min(how.references + 1, len(video))).round().astype(int).tolist()
    source = network.phi(_tensor([read_frame(video.file(i)) for i in spread], how, device))
    for start in range(0, len(indices), CHUNK):
        chunk = indices[start : start + CHUNK]
        frames = [read_frame(video.file(index)) for index in chunk]
        query = network.phi(_tensor(frames, how, device))
        others = torch.tensor([_others(spread, index) for index in chunk], device=device)
        yield from network.segment_frame(query, Features(*(x[others] for x in source)))[:, 0].cpu().numpy()


def _others(spread: list[int], index: int) -> list[int]:
    """Positions in `spread` of all frames but the nearest: none is its own reference, and all have equally many."""
    nearest = min(range(len(spread)), key=lambda position: abs(spread[position] - index))
    return [position for position in range(len(spread)) if position != nearest]


def _tensor(frames: Sequence[np.ndarray], how: Relabelling, device: torch.device) -> Tensor:
    """(B, 3, H, W) in [0, 1], at the size at which the model sees them."""
    height, width = _seen_size(frames[0], how)
    small = [cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in frames]
    return to_tensor(*small, device=device)


def _seen_size(frame: np.ndarray, how: Relabelling) -> tuple[int, int]:
    """Height and width at which the model sees a frame."""
    if how.squeeze:
        return how.size, how.size
    scale = how.size / min(frame.shape[:2])
    return round(frame.shape[0] * scale), round(frame.shape[1] * scale)
