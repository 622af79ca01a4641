"""Pseudo labels: MuG's own masks of unlabeled videos, written as a dataset in DAVIS layout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from downstream.data.kinds import open_videos
from downstream.training.annotated import tell_apart
from downstream.zero_shot.main_object import segment_video
from downstream.zero_shot.options import ZeroShotConfig
from mug.checkpoint import load_weights
from mug.errors import InputError, warn
from mug.media.files import atomic_path, inside
from mug.media.listing import in_words
from mug.media.masks import VOID, write_mask
from mug.media.pictures import fit_size
from mug.media.video import FrameFolder, Video
from mug.run.progress import track
from mug.run.stop import follow_parent

SHORTER = 480
"""Shorter side of the stored frames, in pixels."""
UNSURE = (0.35, 0.65)
"""Range of foreground probabilities labelled void: no label is better than an uncertain one."""
PLAUSIBLE = (0.003, 0.7)
"""Range of the object's share of the frame; frames outside it are left out."""


def pseudo_annotations(
    roots: Sequence[Path], out: Path, frames: int, weights: Path | None = None, workers: int | None = None
) -> None:
    """Segments an excerpt of each video in the adapted mode and writes frames and masks.

    Existing output is kept, so an interrupted call can be resumed.

    Args:
        roots: Videos, folders of videos, or dataset roots; no annotation is read.
        out: Output dataset root: `JPEGImages/480p/<video>/` and `Annotations/480p/<video>/`.
        frames: Number of successive frames, from the middle of each video.
        weights: Weights of MuG; None: the packaged weights.
        workers: Number of processes; None: one per core.

    Raises:
        InputError: there is no video, or no object was found in any. A video that cannot be read is left out with a
            warning.
    """
    videos = tell_apart([(root, video) for root in roots for video in open_videos(root)])
    todo = [video for video in videos if not _masks(out, video).is_dir()]
    label = partial(_label, out=out, frames=frames, weights=weights)
    # spawned, not forked: a forked process inherits locks of torch's threads
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_one_thread) as pool:
        for complaint in track(pool.map(label, todo), "making pseudo labels", len(todo)):
            if complaint:
                warn(f"{complaint}; this video is left out")
    for folder in [_masks(out, video) for video in videos]:
        if folder.is_dir() and not any(folder.iterdir()):
            print(f"{folder}: no object was found in this video; it is left out")
    if not any(out.glob("Annotations/480p/*/*.png")):
        raise InputError(f"{in_words(roots)}: no object was found in any video; give videos in which something moves")


def _masks(out: Path, video: Video) -> Path:
    return inside(out / "Annotations" / "480p", video.name)


def _one_thread() -> None:
    follow_parent()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def _label(video: Video, out: Path, frames: int, weights: Path | None) -> str:
    """Segments a video; returns the error message if it cannot be read, else an empty string."""
    try:
        _write_labels(video, out, frames, weights)
    except InputError as error:
        return str(error)
    return ""


def _write_labels(video: Video, out: Path, frames: int, weights: Path | None) -> None:
    images = out / "JPEGImages" / "480p" / video.name
    if not images.is_dir():
        with atomic_path(images) as folder:
            folder.mkdir()
            for name, frame in _excerpt(video, frames):
                Image.fromarray(frame).save(folder / f"{name}.jpg", quality=92)
    model, _ = load_weights(weights)
    excerpt = FrameFolder(images)
    with atomic_path(_masks(out, video)) as folder:
        folder.mkdir()
        maps = segment_video(excerpt, model, ZeroShotConfig(carry=False))
        for name, map_hw in zip(excerpt.frame_names, maps, strict=True):
            mask = np.where((map_hw > UNSURE[0]) & (map_hw < UNSURE[1]), VOID, map_hw > 0.5).astype(np.uint8)
            if PLAUSIBLE[0] < (mask == 1).mean() < PLAUSIBLE[1]:
                write_mask(folder / f"{name}.png", mask)


def _excerpt(video: Video, frames: int) -> Iterator[tuple[str, np.ndarray]]:
    start = max(0, (len(video) - frames) // 2)
    height, width = fit_size(video.size, SHORTER)
    for index in range(start, min(start + frames, len(video))):
        yield video.frame_names[index], cv2.resize(video[index], (width, height), interpolation=cv2.INTER_AREA)
