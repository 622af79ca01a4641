"""Objects of a clip, their assignment to predictions, and the losses of both (RIS, RSIS; RVOS Sec. 3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from mug.media.masks import VOID
from mug.precision import widen
from mug.run.processes import share_of_mean

MORE = 2
"""n^ - n: predictions beyond the objects of a clip, from which the stop score learns to stop (RIS)."""


class Objects(NamedTuple):
    """The objects of B clips: those that their first frames show, in the order of their ids."""

    counts: list[int]
    """n of each clip."""
    masks: Tensor
    """y, bool (B, max n, N', H, W); False for objects that a clip lacks."""
    known: Tensor
    """bool (B, N', H, W): where a pixel is not void."""


class Pairs(NamedTuple):
    """Objects and the predictions that they are assigned to: index of the clip, the object and the prediction."""

    clips: list[int]
    objects: list[int]
    predictions: list[int]


def objects_of(masks_bnhw: Tensor, most: int | None = None) -> Objects:
    """The objects of clips, uint8 (B, N', H, W) with ids; at most `most` of each."""
    ids = [[i for i in clip[0].unique().tolist() if i not in (0, VOID)][:most] for clip in masks_bnhw]
    counts = [len(known) for known in ids]
    table = masks_bnhw.new_full((len(ids), max(1, *counts)), VOID)
    for row, known in zip(table, ids, strict=True):
        row[: len(known)] = row.new_tensor(known)
    known_bnhw = masks_bnhw != VOID
    return Objects(counts, (masks_bnhw[:, None] == table[:, :, None, None, None]) & known_bnhw[:, None], known_bnhw)


def relaxed_iou(likely_nhw: Tensor, truth_nhw: Tensor) -> Tensor:
    """<y, y^> / (|y| + |y^| - <y, y^>) of masks (..., H, W) in [0, 1]; 0 if both are empty.

    The slide prints a plus before the last term, with which a perfect mask would score one third.
    """
    both = (likely_nhw * truth_nhw).sum((-2, -1))
    return both / (likely_nhw.sum((-2, -1)) + truth_nhw.sum((-2, -1)) - both).clamp(min=1e-6)


@torch.no_grad()
def match(logits_bnhw: Tensor, objects: Objects, allowed: Sequence[int]) -> Pairs:
    """Assigns the objects of each clip to predictions for its first frame, with the highest sum of relaxed IoUs.

    Args:
        logits_bnhw: (B, n^, H, W), the predictions.
        objects: The objects.
        allowed: Number of predictions, the first ones, that each clip considers. If they are fewer than its objects,
            the objects that fit worst have none.
    """
    pairs = Pairs([], [], [])
    for clip, (logits_nhw, predictions) in enumerate(zip(logits_bnhw, allowed, strict=True)):
        known_hw = objects.known[clip, 0]
        likely_nhw = widen(logits_nhw[:predictions]).sigmoid() * known_hw
        truth_nhw = objects.masks[clip, : objects.counts[clip], 0].to(likely_nhw)
        scores = torch.stack([relaxed_iou(likely_hw, truth_nhw) for likely_hw in likely_nhw])
        # a loss that is not finite is reported as such by the training
        rows, columns = linear_sum_assignment(scores.nan_to_num().cpu().numpy(), maximize=True)
        pairs.clips.extend([clip] * len(rows))
        pairs.objects.extend(columns.tolist())
        pairs.predictions.extend(rows.tolist())
    return pairs


def in_order(objects: Objects) -> Pairs:
    """Assigns object i to prediction i, as in one-shot."""
    found = [(clip, i) for clip, count in enumerate(objects.counts) for i in range(count)]
    return Pairs([clip for clip, _ in found], [i for _, i in found], [i for _, i in found])


def mask_loss(logits_pnhw: Tensor, truth_pnhw: Tensor, known_pnhw: Tensor) -> Tensor:
    """1 - relaxed IoU, a mean over all frames that show their object, of all processes; void pixels do not count.

    Of a frame without the object, the relaxed IoU is 0 whatever is predicted; it teaches nothing and is left out.

    Args:
        logits_pnhw: Of assigned predictions in each frame of their clip, (P, N', H, W).
        truth_pnhw: Their objects, bool.
        known_pnhw: Where a pixel is not void, bool.

    Returns:
        This process's share (see `share_of_mean`).
    """
    likely = widen(logits_pnhw).sigmoid() * known_pnhw
    shown = truth_pnhw.any(-1).any(-1)
    loss = 1 - relaxed_iou(likely, truth_pnhw.to(likely))
    return share_of_mean((loss * shown).sum(), shown.sum())


def stop_loss(stops_bni: Tensor, counts: Sequence[int], allowed: Sequence[int]) -> Tensor:
    """Cross-entropy of the stop scores, which are to be 1 as long as i <= n (RIS).

    Args:
        stops_bni: Logits (B, N', n^).
        counts: n of each clip.
        allowed: n^ of each clip.

    Returns:
        This process's share (see `share_of_mean`).
    """
    stops = widen(stops_bni)
    place = torch.arange(stops.shape[-1], device=stops.device)
    n, most = (torch.tensor(x, device=stops.device)[:, None, None] for x in (counts, allowed))
    target, valid = ((place < x).expand_as(stops) for x in (n, most))
    loss = binary_cross_entropy_with_logits(stops, target.to(stops), reduction="none")
    return share_of_mean((loss * valid).sum(), valid.sum())
