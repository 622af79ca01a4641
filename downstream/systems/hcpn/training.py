"""Training of HCPN (HCPN Sec. III-E, IV-A)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from downstream.backbones.device import choose_device
from downstream.instances.flow import flow_method
from downstream.systems.hcpn import HCPNFinetuneOptions
from downstream.systems.hcpn.loss import mask_and_contour_loss
from downstream.systems.hcpn.network import FORMAT, HCPN
from downstream.training.annotated import Annotated
from downstream.training.flows import Flows
from downstream.training.network import NetworkTraining, complete
from downstream.training.options import Clip
from downstream.training.samples import grid_target, overlap
from mug.errors import InputError


class HCPNTraining(NetworkTraining[HCPN]):
    """HCPN with its loss on pairs of frames; see `downstream.systems.base.Trainable`.

    Args:
        options: Architecture, initial weights, optical flow, and learning rates of the parts.

    Raises:
        InputError: the options or weights cannot be used.
    """

    format = FORMAT
    trunks = ("trunks",)
    terms = ("mask", "contour")

    def __init__(self, options: HCPNFinetuneOptions) -> None:
        for name in ("head_rate", "stage_rate", "contour_weight"):
            if getattr(options, name) < 0:
                raise InputError(f"{name}: {getattr(options, name)} is negative; give 0 or more")
        if options.sample.nodes != 2:
            raise InputError(f"sample.nodes: {options.sample.nodes} frames are no pair; give 2")
        config = replace(options.model, trunk=complete(options.model.trunk, options))
        super().__init__(config, options, {"decoder": options.head_rate, "": options.stage_rate})
        self._options = options
        self._sees_flow = self.network.config.input != "frames"
        self.clip = Clip("successive", gap=1, flow=self._sees_flow)

    def prepare(self, sources: Sequence[Annotated], folder: Path) -> Flows | None:
        """The optical flow between successive frames, computed once."""
        if not self._sees_flow:
            return None
        options = self._options
        method = flow_method(options.raft, choose_device(options.engine.device))
        flows = Flows(options.flows or folder / "flow", method, options.sample.size)
        flows.compute(sources)
        return flows

    def forward(self, batch: Mapping[str, Tensor], still: bool, step: int) -> dict[str, Tensor]:
        """The loss of the masks and contours of both frames (HCPN Eq. 6)."""
        flow = batch["flow"][:, 0].float() / 255 if self._sees_flow else None
        masks, contours = self.network(batch["frames"].float() / 255, flow)
        logits = masks.flatten(0, 1)
        labels = batch["masks"][:, : masks.shape[1]].flatten(0, 1)
        target = grid_target(labels, (logits.shape[-2], logits.shape[-1]))
        terms = mask_and_contour_loss(logits, None if contours is None else contours.flatten(0, 1), target)
        total = terms.mask + self._options.contour_weight * terms.contour + self.idle()
        logits = logits.detach()
        parts = {name: x.detach() for name, x in terms._asdict().items()}
        return {"total": total, **parts, "iou": overlap(logits[:, 0] > 0, target), "logits": logits}
