"""The DeepLabV3 in the releases of COSNet and AGNN, as our embedding.

Both are a ResNet-101 of Caffe's layout behind BGR frames in 0 to 255, and the wide pyramid. What our layers lack is
folded into others: the scale and order of the colours into the first kernel, the mean colour and the biases of
convolutions into the running means of the batch norms behind them. On the frame's border alone this is not exact: the
padding is our mean colour instead of theirs, which is less than one 8-bit level away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from mug.backbone import IMAGENET_MEAN, IMAGENET_STD
from mug.errors import InputError
from mug.networks.pyramid import WIDE
from mug.options import EmbeddingConfig

RELEASED = EmbeddingConfig(kind="resnet", depth=101, stride=8, caffe=True, rates=(6, 12, 18), wide=True)
"""Architecture of the released embedding."""

BGR_MEAN = (104.00699, 116.66877, 122.67892)
"""The mean colour that the released code subtracts."""

NORM = ("weight", "bias", "running_mean", "running_var")


@dataclass
class Translation:
    """Our tensors, made from those of a release, and our name of each of theirs."""

    theirs: Mapping[str, Tensor]
    """State dict of the release, with or without the prefix of `nn.DataParallel`."""
    ours: dict[str, Tensor] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    def take(self, name: str, ours: str) -> Tensor:
        """A tensor of theirs, in double precision, which becomes (part of) ours of this name.

        Raises:
            InputError: there is none.
        """
        known = next((known for known in (f"module.{name}", name) if known in self.theirs), None)
        if known is None:
            raise InputError(f"has no {name}; give the weights that the authors released")
        self.names[known] = ours
        return self.theirs[known].double()

    def move(self, name: str, ours: str) -> None:
        """Makes a tensor of theirs ours as it is."""
        self.ours[ours] = self.take(name, ours)

    def move_norm(self, name: str, ours: str) -> None:
        """Makes a batch norm of theirs ours."""
        for part in NORM:
            self.move(f"{name}.{part}", f"{ours}.{part}")

    def fold_bias(self, name: str, ours: str) -> None:
        """Takes a convolution's bias into the running mean of our norm behind it."""
        self.ours[f"{ours}.running_mean"] -= self.take(f"{name}.bias", f"{ours}.running_mean")

    def load(self, network: nn.Module, part: str = "") -> None:
        """Loads our tensors into a network, all that have names with this beginning.

        Raises:
            InputError: a shape differs, or a tensor is not finite.
        """
        state = network.state_dict()
        needed = {n for n in state if n.startswith(part) and not n.endswith("num_batches_tracked")}
        assert needed == self.ours.keys()
        for theirs, ours in self.names.items():
            x = self.ours[ours]
            if x.shape != state[ours].shape:
                raise InputError(f"{theirs} is {tuple(x.shape)} and not {tuple(state[ours].shape)}; give other weights")
            if not x.isfinite().all():
                raise InputError(f"{theirs} is not finite; fetch the file again")
        network.load_state_dict({name: x.float() for name, x in self.ours.items()}, strict=False)


def translate_embedding(translation: Translation) -> None:
    """Translates `encoder.*`, to `embedding.*`.

    Raises:
        InputError: a tensor is missing.
    """
    _translate_trunk(translation)
    _translate_pyramid(translation)


def _translate_trunk(translation: Translation) -> None:
    trunk = "embedding.trunk.resnet"
    for group, blocks in zip(("layer1", "layer2", "layer3", "layer4"), (3, 4, 23, 3), strict=True):
        for block in range(blocks):
            theirs, ours = f"encoder.{group}.{block}", f"{trunk}.{group}.{block}"
            for k in (1, 2, 3):
                translation.move(f"{theirs}.conv{k}.weight", f"{ours}.conv{k}.weight")
                translation.move_norm(f"{theirs}.bn{k}", f"{ours}.bn{k}")
            if block == 0:
                translation.move(f"{theirs}.downsample.0.weight", f"{ours}.downsample.0.weight")
                translation.move_norm(f"{theirs}.downsample.1", f"{ours}.downsample.1")
    kernel = translation.take("encoder.conv1.weight", f"{trunk}.conv1.weight").flip(1)
    mean, std = kernel.new_tensor(IMAGENET_MEAN), kernel.new_tensor(IMAGENET_STD)
    surplus = 255 * mean - kernel.new_tensor(BGR_MEAN).flip(0)  # of their frames over ours, in each colour
    translation.move_norm("encoder.bn1", f"{trunk}.bn1")
    translation.ours[f"{trunk}.conv1.weight"] = kernel * (255 * std).view(3, 1, 1)
    translation.ours[f"{trunk}.bn1.running_mean"] -= kernel.sum((2, 3)) @ surplus


def _translate_pyramid(translation: Translation) -> None:
    theirs, ours = "encoder.layer5", "embedding.aspp"
    for k in range(4):
        translation.move(f"{theirs}.conv2d_{k}.weight", f"{ours}.convs.{k}.0.weight")
        translation.move_norm(f"{theirs}.bn_{k}", f"{ours}.convs.{k}.1")
        translation.fold_bias(f"{theirs}.conv2d_{k}", f"{ours}.convs.{k}.1")
    gain, shift, mean, variance = (translation.take(f"{theirs}.bn_x.{part}", f"{ours}.pooled.bias") for part in NORM)
    factor = gain / torch.sqrt(variance + 1e-5)
    kernel = translation.take(f"{theirs}.conv.weight", f"{ours}.pooled.weight")
    bias = translation.take(f"{theirs}.conv.bias", f"{ours}.pooled.bias")
    translation.ours[f"{ours}.pooled.weight"] = kernel * factor.view(-1, 1, 1, 1)
    translation.ours[f"{ours}.pooled.bias"] = shift + (bias - mean) * factor
    kernel = translation.take(f"{theirs}.bottleneck.weight", f"{ours}.project.0.weight")
    translation.ours[f"{ours}.project.0.weight"] = kernel.roll(-WIDE, 1)  # their pooled branch comes first
    translation.move_norm(f"{theirs}.bn", f"{ours}.project.1")
    translation.fold_bias(f"{theirs}.bottleneck", f"{ours}.project.1")
    translation.move(f"{theirs}.prelu.weight", f"{ours}.project.2.weight")
