"""Z-VOS with HCPN: each frame with the next one and the optical flow between them (HCPN Sec. III-E)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from downstream.instances.flow import FlowMethod, flow_method
from downstream.systems.base import ZeroShot
from downstream.systems.hcpn import HCPNSegmentOptions
from downstream.systems.hcpn.network import FORMAT, HCPN
from downstream.systems.trained import opened, trained_side
from downstream.training.flows import in_colours, mirrored
from mug.media.pictures import fit_size
from mug.media.video import Video

PAPER_SIDE = 512
"""Side in pixels of the network input (HCPN Sec. III-E)."""


def open_zero_shot(options: HCPNSegmentOptions, device: torch.device) -> ZeroShot:
    """Opens HCPN with weights of `mug finetune hcpn`.

    Raises:
        InputError: the weights or settings cannot be used.
    """
    options.pair.check()
    model, metadata = opened(FORMAT, options.weights, device)
    flow = flow_method(options.pair.raft, device)
    side = options.pair.side or trained_side(metadata, PAPER_SIDE)
    return ZeroShot(lambda video: segment_by_pairs(video, model, flow, side, options.pair.flip), crf="hcpn")


class _Frame(NamedTuple):
    """A frame as the network sees it, and as the flow method does."""

    square: Tensor
    """uint8 (3, S, S)."""
    small: np.ndarray
    """uint8 (h, w, 3), in the video's proportions with a shorter side of S at most."""


def segment_by_pairs(
    video: Video, model: HCPN, flow: FlowMethod, side: int = PAPER_SIDE, flip: bool = False
) -> Iterator[np.ndarray]:
    """Foreground probability of each frame, in order; two frames are in memory at a time.

    Frame k is the first of the pair (k, k + 1). The last frame is the second of the last pair; a model with two
    streams, which segments the first of a pair alone, compares it with the frame before. A video of one frame is a pair
    of this frame with itself, at rest.

    Args:
        video: A video of at least one frame.
        model: The model in evaluation mode, on its device.
        flow: Optical flow method.
        side: Side in pixels of the network input.
        flip: Whether to average over mirrored frames too.

    Yields:
        (H, W) float32 in [0, 1] at the original size of the video.

    Raises:
        InputError: a frame cannot be read.
    """

    def found(first: _Frame, second: _Frame) -> np.ndarray:
        vectors = None if model.config.input == "frames" else _between(first, second, flow, side)
        return pair_probabilities(model, first.square, second.square, vectors, flip)

    def full(map_hw: np.ndarray) -> np.ndarray:
        resized = cv2.resize(map_hw, video.size[::-1], interpolation=cv2.INTER_LINEAR)
        clipped: np.ndarray = np.clip(resized, 0, 1)
        return clipped

    frames = (_seen(frame, side) for frame in video)
    before, last = None, next(frames)
    maps = np.empty(0)
    for frame in frames:
        before, last = last, frame
        maps = found(before, last)
        yield full(maps[0])
    if before is None:
        yield full(found(last, last)[0])
    else:
        yield full(maps[1] if len(maps) > 1 else found(last, before)[0])


@torch.inference_mode()
def pair_probabilities(
    model: HCPN, first: Tensor, second: Tensor, flow: Tensor | None, flip: bool = False
) -> np.ndarray:
    """Foreground probability of the frames of a pair, both or the first alone.

    Args:
        model: The model in evaluation mode.
        first: Frame k, uint8 (3, S, S).
        second: Frame k + 1, uint8 (3, S, S).
        flow: The flow from k to k + 1, float (2, S, S) in any unit; None for a model that sees none.
        flip: Whether to average over the mirrored pair, whose flow is mirrored before it is coloured.

    Returns:
        (n, h, w) float32.
    """
    device = next(model.parameters()).device
    frames = torch.stack([first, second])[None]
    maps = []
    for mirror in (False, True) if flip else (False,):
        seen, colours = frames.flip(-1) if mirror else frames, None
        if flow is not None:
            vectors = flow[None]
            colours = in_colours(mirrored(vectors) if mirror else vectors).to(device).float() / 255
        logits = model(seen.to(device).float() / 255, colours).masks[0, :, 0]
        map_nhw = logits.float().sigmoid()
        maps.append(map_nhw.flip(-1) if mirror else map_nhw)
    mean: np.ndarray = torch.stack(maps).mean(0).cpu().numpy()
    return mean


def _seen(frame: np.ndarray, side: int) -> _Frame:
    height, width = fit_size((frame.shape[0], frame.shape[1]), min(side, *frame.shape[:2]))
    square, small = (cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for size in ((side, side), (width, height)))
    return _Frame(torch.from_numpy(square).permute(2, 0, 1), small)


def _between(first: _Frame, second: _Frame, flow: FlowMethod, side: int) -> Tensor:
    """Flow (2, S, S) between two frames; its vectors are those of the video's proportions, as in training."""
    if first is second:
        return torch.zeros(2, side, side)
    vectors = cv2.resize(flow(first.small, second.small), (side, side), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(vectors).permute(2, 0, 1)
