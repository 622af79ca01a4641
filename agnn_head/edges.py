"""The two edges of the graph: intra-attention within a node, inter-attention between two (AGNN Eq. 4, 5, 7).

A node's state is (B, P, C): P = h w positions of C channels. A 1x1 convolution is a linear map of each position. No
(P, P) edge ever exists: `mug.affinity.attend` and `co_attend` read through it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mug.affinity.attention import attend, co_attend

REDUCTION = 8
"""By how much W_f and W_h narrow the channels that are compared, as in the self-attention of SAGAN."""


class LoopEdge(nn.Module):
    """e_ii = alpha softmax((W_f h)(W_h h)^T)(W_l h) + h, also the message of a node to itself (AGNN Eq. 4, 6).

    alpha begins at 0: at first a node tells itself what it is.
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
        """softmax((W_f h)(W_h h)^T) h (B, P, C): what a node's positions find in those that they resemble."""
        return attend(self.f(state_bpc), self.h(state_bpc), state_bpc)

    def message(self, read_bpc: Tensor, state_bpc: Tensor) -> Tensor:
        """e_ii (B, P, C) of what was `read`; W_l is linear and may come last, so that nothing else need be kept."""
        return self.alpha * self.l(read_bpc) + state_bpc


class LineEdge(nn.Module):
    """e_ij = h_i W_c h_j^T, and the message softmax(e_ij) h_j that it carries to i (AGNN Eq. 5, 7).

    Frames have no order, so e_ji = e_ij^T for every pair takes W_c = W_c^T: it is (I + (A + A^T) / 2) / sqrt(C) of a
    free A.

    A begins at 0: similar positions attend to each other from the first step. With the node embedding's features, C
    independent rectified unit normals a position, two unrelated positions score 0.16 sqrt(C) with a standard deviation
    of 0.47, two identical ones 0.5 sqrt(C): at C = 256, 5.4 above. Among 3600 positions a perfect match thus takes 5 %
    of the weight, two hundred times its share if the softmax were flat, and far from all of it. At the scale of 1 it
    would stand 87 above, one-hot and without gradient; at 1/C 0.3, flat.

    The identity stays outside of A so that training starts from it and weight decay returns to it. Optimisers that
    move all weights alike, as AdamW does, otherwise bury a diagonal of 1 / sqrt(C) within some hundred steps.
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
        """The messages m_ji to i and m_ij to j (B, P, C) of nodes with the states h_i and h_j."""
        return co_attend(i_bpc, j_bpc, self.weight)
