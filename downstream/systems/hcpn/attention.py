"""Parallel co-attention of appearance and motion (HCPN Eq. 2).

Maps are (B, P, C): P = h w positions of C channels. The P x P affinity S is never stored: at a stride of 4 and 512
pixels it would have 16384^2 entries.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from mug.affinity.attention import attend
from mug.precision import widen

NARROWEST = 8
"""Minimum number of compared channels."""


class SoftAttention(nn.Module):
    """x_p -> P a_p x_p with a = softmax_p(w . x_p / ||x_p||) (Sec. III-B; the paper gives no equation).

    The factor P makes the mean weight 1. The score depends on a position's direction alone, so that stacked attentions,
    which scale positions, do not amplify each other.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.score = nn.Linear(channels, 1, bias=False)  # the softmax would cancel a bias

    def forward(self, x_bpc: Tensor) -> Tensor:
        """(B, P, C) -> (B, P, C)."""
        share = widen(self.score(F.normalize(widen(x_bpc), dim=2).to(x_bpc.dtype))).softmax(1)
        return x_bpc * (share * x_bpc.shape[1]).to(x_bpc.dtype)


class ParallelCoAttention(nn.Module):
    """N^ of PCM: for each position of the frame, the motion at the positions that it resembles (HCPN Eq. 2).

    M and N are appearance and motion after soft attention. S = N^T P(X) M, where P(X) = A^T B projects motion by A and
    appearance by B to few channels, each with a bias. M^ averages M by the rows of softmax_row(S) and belongs to the
    positions of the motion; N^ averages N by the columns of softmax_col(S) and belongs to those of the frame. (Eq. 2
    omits the transpose of M^ = M S_row^T, which its shapes hide.)

    With several stacks, M^ and N^ are added to appearance and motion and all is repeated with the same weights; the
    last stack computes N^ alone, as nothing reads M^.

    Args:
        channels: C.
        stacks: 1 for Eq. 2 alone.
        reduction: C by the channels that are compared.
    """

    def __init__(self, channels: int, stacks: int, reduction: int) -> None:
        super().__init__()
        narrow = max(channels // reduction, NARROWEST)
        self.stacks = stacks
        self.see_appearance, self.see_motion = SoftAttention(channels), SoftAttention(channels)
        self.appearance, self.motion = nn.Linear(channels, narrow), nn.Linear(channels, narrow)

    def forward(self, appearance_bpc: Tensor, motion_bpc: Tensor) -> Tensor:
        """Both (B, P, C) -> N^ (B, P, C), in memory linear in P."""
        for _ in range(self.stacks - 1):
            m, n, to_m, to_n = self._attended(appearance_bpc, motion_bpc)
            appearance_bpc, motion_bpc = appearance_bpc + attend(to_n, to_m, m), motion_bpc + attend(to_m, to_n, n)
        m, n, to_m, to_n = self._attended(appearance_bpc, motion_bpc)
        return attend(to_m, to_n, n)

    def _attended(self, appearance_bpc: Tensor, motion_bpc: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """M and N, and what of them is compared."""
        m, n = self.see_appearance(appearance_bpc), self.see_motion(motion_bpc)
        return m, n, self.appearance(m), self.motion(n)
