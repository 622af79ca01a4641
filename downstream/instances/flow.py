"""Optical flow between two frames: DIS, or RAFT with weights from a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

from mug.checkpoint import check_same
from mug.errors import InputError
from mug.networks.tensors import read_tensors, without_prefix
from mug.priors.motion import optical_flow

FlowMethod = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Two frames (H, W, 3) uint8 RGB -> flow (H, W, 2) float32 from the first to the second, in pixels."""

RAFT_STRIDE = 8
RAFT_LEAST = 128
"""Minimum side in pixels; below it, RAFT's correlation pyramid has no coarsest level."""


def flow_method(raft: Path | None, device: torch.device) -> FlowMethod:
    """RAFT if a weights file is given, else DIS (Kroeger et al. 2016).

    Raises:
        InputError: the file cannot be used.
    """
    return optical_flow if raft is None else load_raft(raft, device)


def load_raft(path: Path, device: torch.device) -> FlowMethod:
    """Loads RAFT (Teed and Deng 2020): torchvision's `raft_small` or `raft_large`, `.safetensors` or `.pth`.

    Raises:
        InputError: the file is missing, unreadable, of another architecture, or has non-finite values.
    """
    from torchvision.models.optical_flow import raft_large, raft_small

    tensors = without_prefix(read_tensors(path), ["feature_encoder.convnormrelu.0.weight"])
    first = tensors.get("feature_encoder.convnormrelu.0.weight")
    if first is None:
        raise InputError(f"{path}: holds no RAFT; give weights of torchvision's raft_small or raft_large")
    network = (raft_small if len(first) == 32 else raft_large)(weights=None)
    check_same(path, tensors, network.state_dict())
    network.load_state_dict(tensors)
    network = network.to(device).eval()

    @torch.inference_mode()
    def flow(frame: np.ndarray, other: np.ndarray) -> np.ndarray:
        height, width = frame.shape[:2]
        rows, columns = (max(RAFT_LEAST, -(-side // RAFT_STRIDE) * RAFT_STRIDE) for side in (height, width))
        seen = [cv2.resize(image, (columns, rows), interpolation=cv2.INTER_LINEAR) for image in (frame, other)]
        pair = [torch.from_numpy(image).to(device).permute(2, 0, 1)[None].float() / 127.5 - 1 for image in seen]
        found = network(*pair)[-1][0].permute(1, 2, 0).float().cpu().numpy()
        scale = np.array((width / columns, height / rows), np.float32)
        resized: np.ndarray = cv2.resize(found, (width, height), interpolation=cv2.INTER_LINEAR) * scale
        return resized

    return flow
