"""Video granularity: a frame is recognised as one of its own video among others (MuG Eq. 9-14); and the readout v."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mug.affinity.attention import attend
from mug.backbone import VALUE_CHANNELS
from mug.norm import BatchNorm
from mug.precision import widen
from mug.run.processes import first_row, gather

GLOBAL_CHANNELS = 2 * VALUE_CHANNELS

INSTANCE_TEMPERATURE = 0.1
"""Divides the inner products of Eq. 12 and 13, which are cosines here."""


class Readout(nn.Module):
    """v: predicts the foreground from the globally augmented frame (MuG Sec. 3.3)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(GLOBAL_CHANNELS, VALUE_CHANNELS, 3, padding=1, bias=False),
            BatchNorm(VALUE_CHANNELS),
            nn.ReLU(inplace=True),
            nn.Conv2d(VALUE_CHANNELS, 1, 1),
        )

    def forward(self, global_bchw: Tensor) -> Tensor:
        """(B, 256, h, w) -> logits (B, 1, h, w)."""
        return self.layers(global_bchw)


def aggregate(
    query_match: Tensor, query_value: Tensor, source_match: Tensor, source_value: Tensor, temperature: float | Tensor
) -> Tensor:
    """Augments query frames with features read from their references: r = [x', x] (MuG Eq. 9-11).

    Args:
        query_match: (B, 64, h, w).
        query_value: (B, 128, h, w).
        source_match: (B, R, 64, h, w), for the R references of each query.
        source_value: (B, R, 128, h, w).
        temperature: Temperature of the affinity.

    Returns:
        (B, 256, h, w).
    """
    query = query_match.flatten(2).transpose(1, 2)
    source, value = (x.movedim(2, -1).flatten(1, 3) for x in (source_match, source_value))
    found = attend(query, source, value, temperature)
    return torch.cat([found.transpose(1, 2).unflatten(2, query_value.shape[-2:]), query_value], 1)


def instance_loss(query: Tensor, instance: Tensor) -> tuple[Tensor, Tensor]:
    """Discrimination of all videos in the batches of all processes (MuG Eq. 12-14), averaged over the query frames.

    Eq. 12 prints no temperature. Cosines need one, which makes the gradient 1 / temperature times larger, so the loss
    is multiplied by it: otherwise this term alone would make up more than half of the trunk's gradient.

    Instances and queries must not share references: features read from the same few vectors are similar in any network
    and tell videos apart without learning.

    GAP(r_a^T r_b) over all pairs of positions is <GAP(r_a), GAP(r_b)>, so no matrix of positions is needed. The pooled
    vectors are normalised to unit length.

    Args:
        query: (N, K, 256, h, w), r of K query frames of each video; each is a separate query.
        instance: (N, 256, h, w), r of the instance X^n of each video.

    Returns:
        The mean loss over this process's queries, and the share of them that find their own video, without gradient.
    """
    q_nkc, instances_mc = (F.normalize(widen(r).mean((-2, -1)), dim=-1) for r in (query, instance))
    own = first_row(query) + torch.arange(len(query), device=query.device)
    with torch.autocast(query.device.type, enabled=False):
        log_p = (q_nkc @ gather(instances_mc).T / INSTANCE_TEMPERATURE).log_softmax(-1)
    others = torch.log1p(-log_p.exp().clamp(max=1 - 1e-6))
    mine = F.one_hot(own, log_p.shape[-1]).to(log_p.dtype).unsqueeze(1)
    loss = -(log_p * mine + others * (1 - mine)).sum(-1)
    found = log_p.argmax(-1) == own[:, None]
    return INSTANCE_TEMPERATURE * loss.mean(), found.float().mean()
