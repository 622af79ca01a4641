"""The weight W of the affinity S = V_b^T W V_a in each of its forms (COSNet Eq. 3 - 5).

Every form starts at W = I / sqrt(C), and weight decay returns to it: similar positions attend to each other from the
first step. The factor 1 / sqrt(C) keeps the softmax from being one-hot or flat (see `agnn_head.edges.LineEdge`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn


class Vanilla(nn.Module):
    """W = P^-1 D P (Eq. 3), (I + A) / sqrt(C) with any matrix A.

    Almost every square matrix is diagonalisable, over the complex numbers, so the factors are not held apart.
    """

    identity: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.free = nn.Parameter(torch.zeros(channels, channels))
        self.register_buffer("identity", torch.eye(channels), persistent=False)

    def forward(self) -> Tensor:
        """W (C, C)."""
        return (self.identity + self.free) / len(self.free) ** 0.5


class Symmetric(nn.Module):
    """W = P^T D P with P orthogonal and D = diag(1 + d) / sqrt(C) (Eq. 4).

    P is the Cayley transform (I - K) (I + K)^-1 of K = G - G^T with a free matrix G, so it is orthogonal for every G:
    after any step of an optimiser, and if G is rounded. (The released code trains a free W.) The signs of P's rows
    cancel in W, hence every symmetric W has this form, although P has no eigenvalue -1.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.generator = nn.Parameter(torch.zeros(channels, channels))
        self.scale = nn.Parameter(torch.zeros(channels))

    @property
    def projection(self) -> Tensor:
        """P (C, C) = 2 (I + K)^-1 - I, computed in double precision because I + K may be ill-conditioned."""
        skew = (self.generator - self.generator.T).double()
        identity = torch.eye(len(skew), dtype=skew.dtype, device=skew.device)
        return torch.linalg.inv(identity + skew).mul(2).sub(identity).to(self.generator.dtype)

    def forward(self) -> Tensor:
        """W (C, C)."""
        with torch.autocast(self.scale.device.type, enabled=False):
            p = self.projection
            return (p.T * ((1 + self.scale) / len(p) ** 0.5)) @ p


class ChannelWise(nn.Module):
    """W = D = diag(1 + d) / sqrt(C) (Eq. 5)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(channels))

    def forward(self) -> Tensor:
        """W (C, C)."""
        return torch.diag((1 + self.scale) / len(self.scale) ** 0.5)


FORMS: Mapping[str, Callable[[int], nn.Module]] = {
    "symmetric": Symmetric,
    "vanilla": Vanilla,
    "channel-wise": ChannelWise,
}
"""Forms of W by name, each made for a number of channels."""
