"""Training of RVOS (RVOS Sec. 3.3, 4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from downstream.systems.rvos import RVOSFinetuneOptions
from downstream.systems.rvos.matching import MORE, Objects, Pairs, in_order, mask_loss, match, objects_of, stop_loss
from downstream.systems.rvos.network import FORMAT, RVOS
from downstream.training.network import NetworkTraining, complete
from downstream.training.options import Clip
from downstream.training.samples import overlap
from mug.errors import InputError
from mug.precision import widen
from mug.run.processes import share_of_mean

NOWHERE = -30.0
"""Foreground logit where no object is predicted."""


class RVOSTraining(NetworkTraining[RVOS]):
    """RVOS with its losses; see `downstream.systems.base.Trainable`.

    A clip is N' successive annotated frames. The task is that of the network: its configuration, or the weights to go
    on from, say which.

    Args:
        options: Architecture, initial weights, and how clips are learned from.

    Raises:
        InputError: the options or weights cannot be used.
    """

    format = FORMAT
    terms = ("mask", "stop")

    def __init__(self, options: RVOSFinetuneOptions) -> None:
        for name, least in (("objects", 1), ("gap", 1), ("given_steps", 0), ("stop_weight", 0)):
            value = getattr(options, name)
            if value is not None and value < least:
                raise InputError(f"{name}: {value} is too little; give {least} or more")
        super().__init__(replace(options.model, trunk=complete(options.model.trunk, options)), options)
        self._options = options
        self._given_steps = options.steps // 2 if options.given_steps is None else options.given_steps
        self.clip = Clip("successive", options.gap, objects=True)

    def forward(self, batch: Mapping[str, Tensor], still: bool, step: int) -> dict[str, Tensor]:
        """The loss of clips: 1 - relaxed IoU of objects' masks, and in zero-shot the cross-entropy of stop scores.

        Zero-shot: n^ = n + 2 predictions, at most `options.objects`, for a clip whose first frame shows n objects. They
        are matched on that frame, and stay so. Predictions without an object have no mask loss.

        One-shot: prediction i is object i. Up to step `options.given_steps`, S is the true mask of the previous frame,
        later it is the own prediction for it, without gradient; for the first two frames it is always the first mask.
        """
        options, network = self._options, self.network
        one_shot = network.config.task == "one-shot"
        objects = objects_of(batch["masks"], options.objects if one_shot else None)
        more = 0 if one_shot else MORE
        allowed = [min(count + more, options.objects) for count in objects.counts]
        logits_bnihw, stops_bni = self._decode(
            batch["frames"], objects if one_shot else None, max(1, *allowed), step < self._given_steps
        )
        pairs = in_order(objects) if one_shot else match(logits_bnihw[:, 0], objects, allowed)
        logits_pnhw = logits_bnihw[pairs.clips, :, pairs.predictions]
        truth_pnhw, known_pnhw = objects.masks[pairs.clips, pairs.objects], objects.known[pairs.clips]
        parts = {"mask": mask_loss(logits_pnhw, truth_pnhw, known_pnhw)}
        total = parts["mask"] + self.idle()
        if stops_bni is not None:
            parts["stop"] = stop_loss(stops_bni, objects.counts, allowed)
            total = total + options.stop_weight * parts["stop"]
        found = logits_pnhw.detach().flatten(0, 1) > 0
        target = truth_pnhw.float().masked_fill(~known_pnhw, torch.nan).flatten(0, 1)
        count = total.new_tensor(float(len(target)))
        score = overlap(found, target) * count if len(target) else torch.zeros_like(count)
        return {
            "total": total,
            **{name: x.detach() for name, x in parts.items()},
            "iou": share_of_mean(score, count),
            "logits": foreground(logits_bnihw.detach(), pairs),
        }

    def _decode(
        self, frames_bnchw: Tensor, given: Objects | None, count: int, true: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Logits (B, N', n^, H, W) and stop scores (B, N', n^) of clips.

        Args:
            frames_bnchw: uint8 (B, N', 3, H, W).
            given: The objects whose masks are given; None in zero-shot.
            count: n^, the number of predictions.
            true: Whether previous masks are the true ones.
        """
        network = self.network
        clips, length, _, height, width = frames_bnchw.shape
        seen = [x.unflatten(0, (clips, length)) for x in network.see(frames_bnchw.flatten(0, 1).float() / 255)]
        logits: list[Tensor] = []
        stops: list[Tensor | None] = []
        hidden, masks_bihw = None, None
        for t in range(length):
            if given is not None and (t < 2 or true):
                masks_bihw = given.masks[:, :, max(t - 1, 0)]
            elif given is not None:
                masks_bihw = logits[-1].detach().sigmoid()
            out = network.decode([x[:, t] for x in seen], (height, width), count, hidden, masks_bihw)
            hidden = out.hidden
            logits.append(widen(out.logits))
            stops.append(out.stops)
        scores = [x for x in stops if x is not None]
        return torch.stack(logits, 1), torch.stack(scores, 1) if scores else None


def foreground(logits_bnihw: Tensor, pairs: Pairs) -> Tensor:
    """Logits (B * N', 1, H, W) of any object: the highest of the assigned predictions (B, N', n^, H, W)."""
    chosen = torch.zeros(len(logits_bnihw), logits_bnihw.shape[2], dtype=torch.bool, device=logits_bnihw.device)
    chosen[pairs.clips, pairs.predictions] = True
    best = logits_bnihw.masked_fill(~chosen[:, None, :, None, None], NOWHERE).amax(2)
    return best.flatten(0, 1)[:, None]
