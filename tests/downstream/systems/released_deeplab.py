"""A state dict with the names and shapes of the released encoder of COSNet and AGNN, and what that encoder computes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCKS = {"layer1": 3, "layer2": 4, "layer3": 23, "layer4": 3}
STRIDE = {"layer1": 1, "layer2": 2, "layer3": 1, "layer4": 1}
DILATION = {"layer1": 1, "layer2": 1, "layer3": 2, "layer4": 4}
Tensors = dict[str, Tensor]


def kernel(out_channels: int, in_channels: int, size: int = 1) -> Tensor:
    return torch.randn(out_channels, in_channels, size, size) * (2 / (in_channels * size**2)) ** 0.5


def norm(name: str, channels: int, gain: float = 1.0) -> Tensors:
    """Of a batch norm."""
    return {
        f"{name}.weight": gain * (0.5 + torch.rand(channels)),
        f"{name}.bias": 0.1 * torch.randn(channels),
        f"{name}.running_mean": 0.1 * torch.randn(channels),
        f"{name}.running_var": 0.5 + torch.rand(channels),
        f"{name}.num_batches_tracked": torch.tensor(7),
    }


def encoder() -> Tensors:
    """Random weights of the released encoder, by the authors' names."""
    torch.manual_seed(0)
    made = {"conv1.weight": kernel(64, 3, 7) / 60, **norm("bn1", 64)}
    inside = 64
    for group, width in zip(BLOCKS, (64, 128, 256, 512), strict=True):
        for block in range(BLOCKS[group]):
            name = f"{group}.{block}"
            made[f"{name}.conv1.weight"] = kernel(width, inside)
            made[f"{name}.conv2.weight"] = kernel(width, width, 3)
            made[f"{name}.conv3.weight"] = kernel(4 * width, width)
            # so that the sum of many blocks stays in range
            made |= norm(f"{name}.bn1", width) | norm(f"{name}.bn2", width) | norm(f"{name}.bn3", 4 * width, 0.2)
            if block == 0:
                made[f"{name}.downsample.0.weight"] = kernel(4 * width, inside)
                made |= norm(f"{name}.downsample.1", 4 * width)
            inside = 4 * width
    pyramid: Tensors = {"conv.weight": kernel(512, 2048), "conv.bias": torch.randn(512), **norm("bn_x", 512)}
    for k in range(4):
        pyramid |= {f"conv2d_{k}.weight": kernel(512, 2048, 3 if k else 1), f"conv2d_{k}.bias": torch.randn(512)}
        pyramid |= norm(f"bn_{k}", 512)
    pyramid |= {"bottleneck.weight": kernel(256, 2560, 3), "bottleneck.bias": torch.randn(256), **norm("bn", 256)}
    pyramid["prelu.weight"] = torch.tensor([0.3])
    made |= {f"layer5.{name}": x for name, x in pyramid.items()}
    made |= {"main_classifier.weight": kernel(1, 256), "main_classifier.bias": torch.randn(1)}
    return {f"encoder.{name}": x for name, x in made.items()}


def normed(tensors: Tensors, name: str, x: Tensor) -> Tensor:
    """Batch norm in evaluation mode."""
    weight, bias, mean, variance = (tensors[f"{name}.{p}"] for p in ("weight", "bias", "running_mean", "running_var"))
    return F.batch_norm(x, mean, variance, weight, bias)


def embed(tensors: Tensors, frames_bchw: Tensor) -> Tensor:
    """The released encoder's features (B, 256, h, w) of RGB frames in [0, 1]."""
    t = {name.removeprefix("encoder."): x for name, x in tensors.items() if name.startswith("encoder.")}
    mean = torch.tensor([104.00699, 116.66877, 122.67892]).view(3, 1, 1)
    x = F.conv2d(255 * frames_bchw.flip(1) - mean, t["conv1.weight"], stride=2, padding=3)
    x = F.max_pool2d(normed(t, "bn1", x).relu(), 3, 2, 1, ceil_mode=True)
    for group, count in BLOCKS.items():
        for block in range(count):
            name, stride, dilation = f"{group}.{block}", STRIDE[group] if block == 0 else 1, DILATION[group]
            y = normed(t, f"{name}.bn1", F.conv2d(x, t[f"{name}.conv1.weight"], stride=stride)).relu()
            y = F.conv2d(y, t[f"{name}.conv2.weight"], padding=dilation, dilation=dilation)
            y = normed(t, f"{name}.bn2", y).relu()
            y = normed(t, f"{name}.bn3", F.conv2d(y, t[f"{name}.conv3.weight"]))
            if block == 0:
                x = normed(t, f"{name}.downsample.1", F.conv2d(x, t[f"{name}.downsample.0.weight"], stride=stride))
            x = (x + y).relu()
    t = {name.removeprefix("layer5."): x for name, x in t.items() if name.startswith("layer5.")}
    pooled = normed(t, "bn_x", F.conv2d(x.mean((2, 3), keepdim=True), t["conv.weight"], t["conv.bias"])).relu()
    branches = [pooled.expand(-1, -1, *x.shape[2:])]
    for k, rate in enumerate((0, 6, 12, 18)):
        y = F.conv2d(x, t[f"conv2d_{k}.weight"], t[f"conv2d_{k}.bias"], padding=rate, dilation=rate or 1)
        branches.append(normed(t, f"bn_{k}", y).relu())
    y = F.conv2d(torch.cat(branches, 1), t["bottleneck.weight"], t["bottleneck.bias"], padding=1)
    return F.prelu(normed(t, "bn", y), t["prelu.weight"])
