"""Class-agnostic object proposals from a trained detector, torchvision's Mask R-CNN (MuG Sec. 3.3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from downstream.instances.flow import FlowMethod
from downstream.instances.proposals import Proposal, filtered, overlap
from mug.checkpoint import check_same
from mug.errors import InputError
from mug.frames import to_tensor
from mug.networks.tensors import read_tensors, without_prefix

LEAST_SCORE = 0.1
"""Minimum detection score; low, because objects of unknown classes score low and the object-level map filters too."""
SAME = 0.7
"""IoU above which two detections, of any classes, are the same object."""


def load_detector(
    path: Path, device: torch.device
) -> Callable[[np.ndarray, Sequence[np.ndarray], np.ndarray, FlowMethod], list[Proposal]]:
    """Loads torchvision's `maskrcnn_resnet50_fpn` or its `_v2`, with any number of classes, as a source of proposals.

    Args:
        path: State dict, `.safetensors` or `.pth`.
        device: Device of the network.

    Returns:
        A function with the interface of `downstream.instances.proposals.propose`.

    Raises:
        InputError: the file is missing, unreadable, of another architecture, or has non-finite values.
    """
    network = read_detector(path).to(device).eval()

    @torch.inference_mode()
    def propose(
        frame: np.ndarray, others: Sequence[np.ndarray], foreground: np.ndarray, flow: FlowMethod
    ) -> list[Proposal]:
        return filtered(class_agnostic(network(list(to_tensor(frame, device=device)))[0]), foreground)

    return propose


def read_detector(path: Path) -> nn.Module:
    """Builds the network of a state dict; see `load_detector`."""
    from torchvision.models.detection import maskrcnn_resnet50_fpn, maskrcnn_resnet50_fpn_v2

    tensors = without_prefix(read_tensors(path), ["roi_heads.box_predictor.cls_score.weight"])
    classifier = tensors.get("roi_heads.box_predictor.cls_score.weight")
    if classifier is None:
        raise InputError(f"{path}: holds no Mask R-CNN; give weights of torchvision's maskrcnn_resnet50_fpn")
    second = "backbone.fpn.inner_blocks.0.1.weight" in tensors
    build = maskrcnn_resnet50_fpn_v2 if second else maskrcnn_resnet50_fpn
    network: nn.Module = build(weights=None, weights_backbone=None, num_classes=len(classifier))
    if not second:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = 0.0  # as in torchvision's published weights
    # the published weights were trained with frozen statistics, which have no batch counter
    expected = {name: x for name, x in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    tensors = {name: x for name, x in tensors.items() if not name.endswith("num_batches_tracked")}
    check_same(path, tensors, expected)
    network.load_state_dict(tensors, strict=False)
    return network.eval()


def class_agnostic(found: Mapping[str, Tensor]) -> list[Proposal]:
    """Proposals from the detections of one image, most confident first, each object once.

    Args:
        found: Output of a torchvision detector: `scores` (N,), descending, and `masks` (N, 1, H, W) in [0, 1].
    """
    kept: list[Proposal] = []
    for score, mask in zip(found["scores"].tolist(), found["masks"], strict=True):
        shape = (mask[0] > 0.5).cpu().numpy()
        if score >= LEAST_SCORE and not any(overlap(shape, other.mask) > SAME for other in kept):
            kept.append(Proposal(shape, score))
    return kept
