"""The two kinds of edges: intra-attention within a node, inter-attention between two (AGNN Eq. 4, 5, 7).

A node's state is (B, P, C): P = h w positions of C channels. A 1x1 convolution is a linear map of each position. The
(P, P) matrix of an edge is never stored: `mug.affinity.attention.attend` and `co_attend` compute it in chunks.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mug.affinity.attention import attend, co_attend

REDUCTION = 8
"""Factor by which W_f and W_h reduce the channels that are compared, as in SAGAN's self-attention."""


class LoopEdge(nn.Module):
    """e_ii = alpha softmax((W_f h)(W_h h)^T)(W_l h) + h, also the message of a node to itself (AGNN Eq. 4, 6).

    alpha starts at 0: at first a node's message to itself is its own state.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow = max(channels // REDUCTION, 1)
        self.f = nn.Linear(channels, narrow, bias=False)
        self.h = nn.Linear(channels, narrow, bias=False)
        self.l = nn.Linear(channels, channels, bias=False)
        self.alpha = nn.Parameter(torch.zeros(()))

    def forward(self, state_bpc: Tensor) -> Tensor:
        """(B, P, C) -> (B, P, C)."""
        return self.message(self.read(state_bpc), state_bpc)

    def read(self, state_bpc: Tensor) -> Tensor:
        """softmax((W_f h)(W_h h)^T) h (B, P, C): for each position, the mean state of those similar to it."""
        return attend(self.f(state_bpc), self.h(state_bpc), state_bpc)

    def message(self, read_bpc: Tensor, state_bpc: Tensor) -> Tensor:
        """e_ii (B, P, C) from the result of `read`; W_l is linear and can come last, so nothing else is stored."""
        return self.alpha * self.l(read_bpc) + state_bpc


class LineEdge(nn.Module):
    """e_ij = h_i W_c h_j^T, and the message softmax(e_ij) h_j that it carries to i (AGNN Eq. 5, 7).

    Frames have no order, so e_ji = e_ij^T must hold for every pair, which requires W_c = W_c^T. W_c is therefore
    (I + (A + A^T) / 2) / sqrt(C) with a free A.

    A starts at 0: similar positions attend to each other from the first step. If the embedding's features are C
    independent rectified unit normals per position, two unrelated positions score 0.16 sqrt(C) with a standard
    deviation of 0.47 and two identical ones 0.5 sqrt(C), which is 5.4 higher at C = 256. Among 3600 positions a perfect
    match then gets 5 % of the weight: two hundred times its share under a flat softmax, but far from all of it. Without
    the factor 1 / sqrt(C) it would score 87 higher: one-hot, without gradient. With 1 / C it would be 0.3: flat.

    The identity stays outside of A so that training starts from it and weight decay returns to it. Optimisers that
    move all weights by the same amount, such as AdamW, otherwise bury a diagonal of 1 / sqrt(C) within a few hundred
    steps.
    """

    identity: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.free = nn.Parameter(torch.zeros(channels, channels))
        self.register_buffer("identity", torch.eye(channels), persistent=False)

    @property
    def weight(self) -> Tensor:
        """W_c, (C, C), symmetric."""
        return (self.identity + (self.free + self.free.T) / 2) / len(self.free) ** 0.5

    def query(self, state: Tensor) -> Tensor:
        """h_i W_c, (..., P, C)."""
        return state @ self.weight

    def forward(self, i_bpc: Tensor, j_bpc: Tensor) -> tuple[Tensor, Tensor]:
        """The messages m_ji to i and m_ij to j (B, P, C) between nodes with the states h_i and h_j."""
        return co_attend(i_bpc, j_bpc, self.weight)
