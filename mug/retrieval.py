"""Video retrieval: a label-free measure of pretraining that takes about a minute.

It measures on unseen clips what the video granularity trains (MuG Eq. 12 - 14): pooled r tells videos apart, so the
nearest neighbours of a clip come from its own video.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mug.backbone import Features
from mug.errors import InputError
from mug.frames import to_tensor
from mug.media.pictures import fit_size
from mug.media.video import Video
from mug.model import MuG
from mug.precision import widen
from mug.run.progress import track

CLIPS = 4
"""Number of clips of equal length per video."""
FRAMES = 3
"""Evenly spaced frames encoded per clip; each is augmented from the others."""
SIZE = 192
"""Shorter side of phi's input, in pixels."""


class Retrieval(NamedTuple):
    """Retrieval scores, as fractions."""

    recall: float
    """Share of clips whose nearest neighbour is from their own video (recall at 1)."""
    precision: float
    """Mean share of a clip's CLIPS - 1 nearest neighbours that are from its own video."""
    chance: float
    """Expected value of both scores for random neighbours."""
    clips: int
    """Number of clips."""


def retrieval(model: MuG, videos: Sequence[Video], size: int = SIZE) -> Retrieval:
    """Finds the nearest neighbours of every clip among the clips of all videos.

    Args:
        model: Runs in evaluation mode; its mode is restored.
        videos: Two or more.
        size: Shorter side of the frames, in pixels.

    Raises:
        InputError: fewer than two videos have CLIPS frames, or a frame cannot be read.
    """
    usable = [video for video in videos if len(video) >= CLIPS]
    if len(usable) < 2:
        raise InputError(f"retrieval needs two videos of at least {CLIPS} frames; there are {len(usable)}")
    trained = model.training
    model.eval()
    try:
        clips = np.concatenate([clip_descriptor(model, video, size) for video in track(usable, "describing clips")])
    finally:
        model.train(trained)
    return retrieve(clips, np.repeat(np.arange(len(usable)), CLIPS))


def retrieve(descriptors: np.ndarray, labels: np.ndarray) -> Retrieval:
    """Finds the nearest neighbours of each descriptor among the others.

    Args:
        descriptors: (M, C), of unit length; compared by inner product.
        labels: (M,), the video of each; CLIPS per video.
    """
    import faiss
    from threadpoolctl import threadpool_limits

    vectors = np.ascontiguousarray(descriptors, dtype=np.float32)
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    with threadpool_limits(1):  # few clips, and its idle threads would not survive a fork
        _, found = index.search(vectors, min(CLIPS, len(vectors)))
    right = []
    for own, row in enumerate(found):
        # a clip finds itself, usually first, but not if another has the same descriptor
        others = [neighbour for neighbour in row if neighbour != own][: CLIPS - 1]
        right.append(labels[others] == labels[own])
    hits = np.array(right)
    chance = (CLIPS - 1) / (len(descriptors) - 1)
    return Retrieval(float(hits[:, 0].mean()), float(hits.mean()), chance, len(descriptors))


@torch.inference_mode()
def clip_descriptor(model: MuG, video: Video, size: int) -> np.ndarray:
    """GAP(r) of each clip of a video: (CLIPS, 256) float32, of unit length (MuG Eq. 11, 13)."""
    device = next(model.parameters()).device
    rows = []
    for clip in range(CLIPS):
        start, stop = (len(video) * end // CLIPS for end in (clip, clip + 1))
        chosen = sorted({start + (2 * k + 1) * (stop - start) // (2 * FRAMES) for k in range(FRAMES)})
        seen = model.phi(torch.cat([_tensor(video[i], size) for i in chosen]).to(device))
        rows.append(widen(_augmented(model, Features(*seen))).mean((0, 2, 3)))
    described: np.ndarray = F.normalize(torch.stack(rows), dim=1).cpu().numpy()
    return described


def _augmented(model: MuG, seen: Features) -> Tensor:
    """Features r (N, 256, h, w) of a clip's frames, each with the others as references; a single frame with itself."""
    count = len(seen.match)
    others = torch.tensor([[k for k in range(count) if k != n] or [n] for n in range(count)])
    return model.aggregate(seen, Features(*(maps[others] for maps in seen)))


def _tensor(frame: np.ndarray, size: int) -> Tensor:
    height, width = fit_size((frame.shape[0], frame.shape[1]), size)
    small = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
    return to_tensor(small)
