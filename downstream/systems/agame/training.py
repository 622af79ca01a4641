"""Training of A-GAME: clips of successive frames, whose first masks are given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from downstream.systems.agame import AGAMEFinetuneOptions
from downstream.systems.agame.network import AGAME, FORMAT
from downstream.training.network import NetworkTraining, complete
from downstream.training.options import Clip
from downstream.training.samples import overlap
from mug.errors import InputError
from mug.media.masks import VOID
from mug.precision import widen
from mug.run.processes import first_row, share_of_mean


class AGAMETraining(NetworkTraining[AGAME]):
    """A-GAME with its losses; see `downstream.systems.base.Trainable`.

    Args:
        options: Architecture, initial weights, and how clips and objects are chosen.

    Raises:
        InputError: the options or weights cannot be used.
    """

    format = FORMAT
    terms = ("mask", "coarse")

    def __init__(self, options: AGAMEFinetuneOptions) -> None:
        for name in ("gap", "objects"):
            if getattr(options, name) < 1:
                raise InputError(f"{name}: {getattr(options, name)} is too few; give 1 or more")
        if options.auxiliary < 0:
            raise InputError(f"auxiliary: {options.auxiliary} is negative; give 0 or more")
        if options.sample.nodes < 2:
            raise InputError("sample.nodes: 1 leaves no frame to find the given mask in; give 2 or more")
        super().__init__(replace(options.model, trunk=complete(options.model.trunk, options)), options)
        self.clip = Clip("successive", options.gap, objects=True)
        self._options = options
        if options.tune == "last" and not options.scratch:
            self._keep_all_but_the_last_group()

    def forward(self, batch: Mapping[str, Tensor], still: bool, step: int) -> dict[str, Tensor]:
        """Cross-entropy of the final masks, and of the coarse ones as an auxiliary loss.

        Up to `options.objects` of the first frame's objects are carried; to each of them, the other objects are
        background. Void pixels are no part of a given mask and have no loss. A clip without an object in its first
        frame has no loss either.
        """
        frames, masks_bnhw = batch["frames"].float() / 255, batch["masks"]
        first = first_row(frames)
        chosen = [
            choose(masks[0], self._options.objects, np.random.default_rng([self._options.seed, step, 3, first + b]))
            for b, masks in enumerate(masks_bnhw)
        ]
        truth_mnhw = targets(masks_bnhw, chosen)
        if len(truth_mnhw):
            coarse, final = self.network(frames, truth_mnhw[:, :1].nan_to_num(0), [len(ids) for ids in chosen])
        else:
            coarse = final = frames.new_zeros(0, frames.shape[1] - 1, 1, 1)
        later_mnhw = truth_mnhw[:, 1:]
        parts = {"mask": cross_entropy(final, later_mnhw)}
        loss = parts["mask"] + self.idle()
        if self._options.auxiliary:
            parts["coarse"] = cross_entropy(coarse, later_mnhw)
            loss = loss + self._options.auxiliary * parts["coarse"]
        with torch.no_grad():
            found = grown(final, later_mnhw) > 0
            iou = overlap(found.flatten(0, 1), later_mnhw.flatten(0, 1)) if len(found) else loss.new_ones(())
            logits = self._drawn(final.detach(), truth_mnhw, [len(ids) for ids in chosen])
        return {"total": loss, **{name: x.detach() for name, x in parts.items()}, "iou": iou, "logits": logits}

    def _keep_all_but_the_last_group(self) -> None:
        """Freezes the trunk, norms included, up to the layers of its last map (A-GAME: all but the last block)."""
        trunk, last = self.network.trunk, self.network.trunk.last_group
        learned = {id(parameter) for parameter in last.parameters()}
        for parameter in trunk.parameters():
            if id(parameter) not in learned:
                parameter.requires_grad_(False)
        kept = set(map(id, last.modules())) | set(map(id, self._frozen))
        self._frozen += [m for m in trunk.modules() if isinstance(m, _BatchNorm) and id(m) not in kept]

    @staticmethod
    def _drawn(final_mnhw: Tensor, truth_mnhw: Tensor, counts: list[int]) -> Tensor:
        """Logits of any of a clip's objects, (B * N', 1, h, w): the given masks, then those found."""
        size = final_mnhw.shape[-2:]
        given = F.interpolate(truth_mnhw[:, :1].nan_to_num(0), size, mode="area") - 0.5
        clips = torch.cat([given, final_mnhw.to(given.dtype)], 1).split(counts)
        none = given.new_full((1, truth_mnhw.shape[1], *size), -1)
        return torch.stack([torch.cat([none, clip]).amax(0) for clip in clips]).flatten(0, 1)[:, None]


def choose(mask_hw: Tensor, most: int, rng: np.random.Generator) -> list[int]:
    """At most `most` of the ids in a mask (uint8, 0 background, 255 void), in ascending order."""
    ids = [int(i) for i in mask_hw.unique() if i not in (0, VOID)]
    return sorted(rng.choice(ids, most, replace=False).tolist()) if len(ids) > most else ids


def targets(masks_bnhw: Tensor, chosen: list[list[int]]) -> Tensor:
    """(M, N, H, W) float: 1 on each chosen object of each clip, 0 on all else, NaN on void."""
    found = [
        torch.where(masks == VOID, torch.nan, (masks == i).float())
        for masks, ids in zip(masks_bnhw, chosen, strict=True)
        for i in ids
    ]
    return torch.stack(found) if found else masks_bnhw.new_zeros(0, *masks_bnhw.shape[1:], dtype=torch.float32)


def grown(logits_mnhw: Tensor, like_mnhw: Tensor) -> Tensor:
    """Logits at the size of the frames, by bilinear interpolation; at least single precision."""
    if not len(logits_mnhw):
        return widen(like_mnhw)
    return F.interpolate(widen(logits_mnhw), like_mnhw.shape[-2:], mode="bilinear", align_corners=False)


def cross_entropy(logits_mnhw: Tensor, truth_mnhw: Tensor) -> Tensor:
    """Mean cross-entropy over all labelled pixels of all objects, frames and processes.

    Args:
        logits_mnhw: (M, N, h, w), on a coarser grid.
        truth_mnhw: (M, N, H, W) in [0, 1], NaN on void.

    Returns:
        This process's share (see `mug.run.processes.share_of_mean`).
    """
    logits, known = grown(logits_mnhw, truth_mnhw), ~truth_mnhw.isnan()
    truth = truth_mnhw.nan_to_num(0).to(logits.dtype)
    loss = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    return share_of_mean((loss * known).sum(), known.sum())
