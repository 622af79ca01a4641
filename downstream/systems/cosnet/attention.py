"""Gated co-attention between the features of two frames (COSNet Sec. 3.2).

Features are (B, P, C): P positions of C channels. The (P, P) affinity is never stored.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from downstream.systems.cosnet.affinity import FORMS
from mug.affinity.attention import attend, co_attend


class CoAttention(nn.Module):
    """Z_a = V_b S^c and Z_b = V_a (S^r)^T, each times its gate; S = V_b^T W V_a.

    S^c is the softmax of S over its columns, whose entries are positions of b, and S^r that over its rows.

    Args:
        channels: C.
        form: Form of W, one of `FORMS`.
    """

    def __init__(self, channels: int, form: str) -> None:
        super().__init__()
        self.affinity = FORMS[form](channels)
        self.gate = nn.Linear(channels, 1)

    def forward(self, a_bpc: Tensor, b_bpc: Tensor) -> tuple[Tensor, Tensor]:
        """V_a, V_b -> gated Z_a (what b says of each position of a) and Z_b, from one affinity."""
        z_b, z_a = co_attend(b_bpc, a_bpc, self.affinity())
        return self.gated(z_a), self.gated(z_b)

    def summaries(self, a_pc: Tensor, references_nqc: Tensor) -> Tensor:
        """Gated Z_an (N, P, C) of one frame V_a (P, C), from each of N references V_bn (N, Q, C)."""
        query = (a_pc @ self.affinity().T).expand(len(references_nqc), -1, -1)
        return self.gated(attend(query, references_nqc, references_nqc))

    def gated(self, z_bpc: Tensor) -> Tensor:
        """Z f_g(Z), f_g(Z) = sigmoid(w_f Z + b_f) in [0, 1], one value per position."""
        return z_bpc * torch.sigmoid(self.gate(z_bpc))
