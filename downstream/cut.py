"""Where to cut a head's maps: Eq. 12 of AGNN does not care, the measure J does.

The loss weighs the fore- and background of a frame alike whatever their areas, so that of a small object the map says
how likely a cell would be foreground if half of the frame were. Cut at 0.5 such maps are far too large. The cut that
suits annotated frames is found and built into the readout's bias: then 0.5 is the right cut for everybody.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from agnn_head.model import AGNN
from downstream.annotated import Annotated
from downstream.samples import as_tensors, grid_target

CUTS = np.linspace(0.05, 0.95, 19)
GRAPHS = 3
"""Graphs of each video that are looked at."""
VIDEOS = 60
"""Videos that are looked at; with many, as many evenly chosen ones."""


@torch.inference_mode()
def cut_scores(network: AGNN, sources: Sequence[Annotated], size: int, nodes: int) -> list[list[float]]:
    """How well the masks of each graph of the sources' frames overlap the truth, mean J, if cut at each of CUTS.

    Args:
        network: In evaluation mode.
        sources: Videos or groups.
        size: Side of the square that frames are brought to, in pixels.
        nodes: Frames of a graph.
    """
    like = next(network.parameters())
    scores = []
    for source in [sources[i] for i in _spread(len(sources), VIDEOS)]:
        chosen = _spread(len(source), GRAPHS * nodes)
        for start in range(min(GRAPHS, len(chosen))):
            pairs = [source.read(int(n), size) for n in chosen[start::GRAPHS]]
            read = [as_tensors([pair], size) for pair in pairs]
            frames, masks = (torch.cat(list(both)).to(like.device) for both in zip(*read, strict=True))
            logits_nhw = network(frames[None].to(like.dtype) / 255)[0, :, 0].float()
            truth = grid_target(masks, (logits_nhw.shape[-2], logits_nhw.shape[-1]))
            scores.append([overlap(logits_nhw.sigmoid() > cut, truth).item() for cut in CUTS])
    return scores


def best_cut(scores: Sequence[Sequence[float]]) -> float:
    """The probability at which masks overlap the truth best over all graphs of `cut_scores`, one of CUTS."""
    return float(CUTS[np.mean(scores, axis=0).argmax()])


def halfway(seen: float, unseen: float) -> float:
    """The cut between two, halfway in log-odds.

    A head that learned from few videos is surer of them than of any other: the cut that suits them is too high. One
    that learned from fewer still is less sure of the rest than the whole head will be of new ones: its cut is too low.

    >>> round(halfway(0.8, 0.2), 2)
    0.5
    """
    return 1 / (1 + math.sqrt((1 - seen) / seen * (1 - unseen) / unseen))


def move_cut(network: AGNN, cut: float) -> None:
    """Moves the readout's bias so that what was `cut` becomes 0.5."""
    last = network.readout.layers[-1]
    assert isinstance(last, nn.Conv2d) and last.bias is not None
    last.bias.data -= math.log(cut / (1 - cut))


def overlap(found_nhw: Tensor, truth_nhw: Tensor) -> Tensor:
    """Mean J of masks (bool) on a grid, cells whose truth is NaN left out; no object and none found counts 1."""
    known = ~truth_nhw.isnan()
    found, there = found_nhw & known, (truth_nhw > 0.5) & known
    both, either = (found & there).sum((1, 2)), (found | there).sum((1, 2))
    return torch.where(either > 0, both / either.clamp(min=1), 1.0).mean()


def _spread(length: int, most: int) -> list[int]:
    """At most so many of `length` indices, evenly over all."""
    count = min(length, most)
    return [(2 * k + 1) * length // (2 * count) for k in range(count)]
