"""One step of propagation as a network of its own, for programs that run without mug (MuG Eq. 17)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from downstream.one_shot.protocols import PropagationConfig

GROUPS = 8
"""Queries are compared in this many groups, one after the other: only one group's affinity exists at a time."""


class PropagationStep(nn.Module):
    """Carries the labels of the frames in memory to the next frame, as `Propagator` does by matching alone.

    Unlike `mug.affinity.windowed.topk_attend` it compares all positions and masks those outside of the windows, so
    that it has no loop over a grid of a certain size.

    Args:
        config: The protocol: number of cells that vote, and temperature. Windows are squares.
        groups: Number of groups of queries; the largest tensor has T (h w)^2 / groups elements.
    """

    def __init__(self, config: PropagationConfig, groups: int = GROUPS) -> None:
        super().__init__()
        assert config.top_k is not None and config.window == "square" and config.votes == "joint"
        self.top_k, self.temperature, self.groups = config.top_k, config.temperature, groups

    def forward(self, query_chw: Tensor, memory_tchw: Tensor, labels_tlhw: Tensor, radius_t: Tensor) -> Tensor:
        """The labels of the next frame.

        Args:
            query_chw: (C, h, w), its features, L2-normalised over C.
            memory_tchw: (T, C, h, w), those of the frames in memory.
            labels_tlhw: (T, L, h, w), soft labels of these frames; all 0 where a frame is void.
            radius_t: (T,), how many cells to each side a cell looks in each frame.

        Returns:
            (L, h, w), sums to 1 over L.
        """
        frames, _, height, width = memory_tchw.shape
        cells = height * width
        # without remainders of a division, which ONNX does not have for open sizes
        y = torch.arange(height, device=query_chw.device)[:, None].expand(height, width).flatten()
        x = torch.arange(width, device=query_chw.device)[None].expand(height, width).flatten()
        query_qc = query_chw.flatten(1).T / self.temperature
        memory_cm = memory_tchw.movedim(1, 0).flatten(1)
        labels_ml = labels_tlhw.movedim(1, -1).flatten(0, 2)
        size = (cells + self.groups - 1) // self.groups
        read = []
        for group in range(self.groups):
            # the last group may repeat the last query
            chosen = (torch.arange(size, device=query_chw.device) + group * size).clamp(max=cells - 1)
            away = torch.maximum((y[chosen, None] - y).abs(), (x[chosen, None] - x).abs())
            logits = (query_qc[chosen] @ memory_cm).unflatten(1, (frames, cells))
            logits = logits.masked_fill(away[:, None] > radius_t[:, None], -torch.inf)
            best, index = logits.flatten(1).topk(self.top_k)
            read.append((best.softmax(1)[..., None] * labels_ml[index]).sum(1))
        labels = torch.cat(read)[:cells].T.unflatten(1, (height, width))
        return labels / labels.sum(0, keepdim=True).clamp_min(1e-6)
