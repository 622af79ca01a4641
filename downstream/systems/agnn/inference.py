"""Z-VOS with AGNN: all frames of a video, a few per graph (AGNN Sec. 3.3)."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from agnn_head.checkpoint import FORMAT
from agnn_head.model import AGNN
from downstream.systems.agnn import AGNNSegmentOptions, GraphConfig
from downstream.systems.base import ZeroShot
from downstream.systems.trained import PAPER_SIDE, as_trained, opened
from downstream.zero_shot.in_order import in_order, square
from mug.media.video import Video


def open_zero_shot(options: AGNNSegmentOptions, device: torch.device) -> ZeroShot:
    """Opens AGNN with weights of `mug finetune agnn`.

    Raises:
        InputError: the weights or settings cannot be used.
    """
    options.graph.check()
    model, metadata = opened(FORMAT, options.weights, device)
    graph = as_trained(options.graph, metadata)
    return ZeroShot(lambda video: segment_by_graph(video, model, graph))


def subsets(frames: int, nodes: int) -> list[list[int]]:
    """T = ceil(N / N') interleaved subsets {t, t + T, t + 2T, ...}; some may be one frame short.

    >>> subsets(7, 3)
    [[0, 3, 6], [1, 4], [2, 5]]
    """
    count = math.ceil(frames / nodes)
    return [list(range(t, frames, count)) for t in range(count)]


def segment_by_graph(video: Video, model: AGNN, config: GraphConfig | None = None) -> Iterator[np.ndarray]:
    """Foreground probability of each frame, in order, shifted so that the threshold for this video is 0.5.

    Every subset of frames spans the whole video, so all are processed before the first map is yielded. Maps are
    buffered on disk: memory is that of one graph, whatever the length of the video.

    Args:
        video: A video of at least one frame.
        model: The model in evaluation mode, on its device.
        config: Inference options; None: the defaults.

    Yields:
        (H, W) float32 in [0, 1] at the original size of the video.

    Raises:
        InputError: a frame cannot be read, or a setting is out of range.
    """
    config = config or GraphConfig()
    config.check()
    yield from in_order(video, _graph_maps(video, model, config), config.cut)


def _graph_maps(video: Video, model: AGNN, config: GraphConfig) -> Iterator[tuple[int, np.ndarray]]:
    """Frame number and map of the frames of one graph after the other."""
    side = config.side or PAPER_SIDE
    graphs = subsets(len(video), config.nodes)
    # the k-th frames of all subsets are successive, so each reader reads its part of the video once
    readers = [copy.copy(video) for _ in graphs[0]]
    for graph in graphs:
        frames = [square(reader[index], side) for reader, index in zip(readers, graph, strict=False)]
        yield from zip(graph, graph_probabilities(model, torch.stack(frames), config), strict=True)


@torch.inference_mode()
def graph_probabilities(model: AGNN, frames_nchw: Tensor, config: GraphConfig) -> np.ndarray:
    """Foreground probability of the frames of one graph, averaged over scales and mirroring.

    Args:
        model: The model in evaluation mode.
        frames_nchw: uint8 (N, 3, S, S).
        config: Scales, mirroring and rounds of message passing.

    Returns:
        (N, h, w) float16 on the grid of the first scale.
    """
    device = next(model.parameters()).device
    frames = frames_nchw.to(device).float() / 255
    maps: list[Tensor] = []
    for scale in config.scales:
        side = round(scale * frames.shape[-1])
        scaled = (
            frames if side == frames.shape[-1] else F.interpolate(frames, (side, side), mode="bilinear", antialias=True)
        )
        for mirrored in (False, True) if config.flip else (False,):
            seen = scaled.flip(-1) if mirrored else scaled
            map_n1hw = model(seen[None], iterations=config.iterations)[0].float().sigmoid()
            map_n1hw = map_n1hw.flip(-1) if mirrored else map_n1hw
            size = maps[0].shape[-2:] if maps else map_n1hw.shape[-2:]
            maps.append(F.interpolate(map_n1hw, size, mode="bilinear", antialias=True))
    mean: np.ndarray = torch.stack(maps).mean(0)[:, 0].half().cpu().numpy()
    return mean
