"""One layer of a third-party network as a feature map; the forward pass stops at that layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import VisionTransformer

from downstream.backbones.lattice import Cells
from mug.errors import InputError

_TRIAL = ((128, 128), (128, 192))
"""Sizes, in pixels, of the blank frames used to probe a network."""


class LayerFeatures(nn.Module):
    """Feature map of one layer of a network: a CNN's output, or a transformer's patch tokens as a map.

    Frames are padded to whole patches by repeating the edge; class and register tokens are dropped. Modules after the
    layer are removed, so the weights need not include them.

    Attributes:
        network: The network up to the layer.
        unused: Names of the removed tensors.
        cells: Position of its cells in the frame; None if unknown.

    Args:
        name: Name of the backbone, for error messages.
        network: The network, in evaluation mode.
        layer: Name of the module whose output is read.
        mean: Per-channel mean subtracted from an RGB frame in [0, 1].
        std: Per-channel standard deviation that the result is divided by.
        stride: Output stride in pixels; strides of the last convolutions before the layer are set to 1, without
            dilation, until it is reached. None, or a transformer: unchanged.

    Raises:
        InputError: there is no such layer, its output is not a map, or the stride cannot be reached.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str,
        network: nn.Module,
        layer: str,
        mean: Sequence[float],
        std: Sequence[float],
        stride: int | None = None,
    ) -> None:
        super().__init__()
        self.name, self.network, self.layer = name, network, layer
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1))
        modules = dict(network.named_modules())
        if not layer or layer not in modules:
            start = [m for m in modules if m and m.count(".") <= layer.count(".")]
            raise InputError(f"--backbone {name}: has no module {layer}; those it has begin {', '.join(start[:12])}")
        self._patch = _patch_size(network)
        modules[layer].register_forward_hook(_stop)
        self._check_map()
        if stride is not None and not self._patch:
            self._reach(stride)
        self.unused = self._prune()
        self.cells = self._where()

    @torch.inference_mode()
    def forward(self, frame_b3hw: Tensor) -> Tensor:
        """A frame (1, 3, H, W) in [0, 1] -> (1, C, h, w)."""
        x = (frame_b3hw - self.mean) / self.std
        if self._patch:
            bottom, right = (-side % patch for side, patch in zip(x.shape[2:], self._patch, strict=True))
            x = F.pad(x, (0, right, 0, bottom), mode="replicate")
        out = self._run(x)
        if out.ndim == 3 and self._patch:
            height, width = (side // patch for side, patch in zip(x.shape[2:], self._patch, strict=True))
            # class and register tokens come first
            out = out[:, out.shape[1] - height * width :].transpose(1, 2).unflatten(2, (height, width))
        return out

    def _run(self, x: Tensor) -> Tensor:
        try:
            if isinstance(self.network, VisionTransformer):
                _run_torchvision_vit(self.network, x)
            else:
                self.network(x)
        except _Reached as reached:
            return reached.output
        raise InputError(f"--backbone {self.name}: its forward pass does not reach {self.layer}; name another layer")

    def _trial(self, size: tuple[int, int]) -> Tensor:
        try:
            return self(self.mean.new_zeros(1, 3, *size))
        except (RuntimeError, AssertionError, AttributeError, ValueError) as error:
            reason = " ".join(str(error).split())[:100]
            raise InputError(
                f"--backbone {self.name}: cannot be run on frames of {size[1]}x{size[0]} pixels ({reason}); "
                "write a function around it and name that"
            ) from error

    def _check_map(self) -> None:
        square, wide = (self._trial(size) for size in _TRIAL)
        if square.ndim != 4 or square.shape[1] != wide.shape[1] or square.shape[3] >= wide.shape[3]:
            raise InputError(
                f"--backbone {self.name}: {self.layer} gives {tuple(square.shape)}, no map (1, C, h, w); "
                "name another layer, or write a function around it and name that"
            )

    def _reach(self, stride: int) -> None:
        for module in reversed(list(_along(self.network, self.layer))):
            if _TRIAL[0][0] // self._trial(_TRIAL[0]).shape[2] <= stride:
                return
            for conv in module.modules():
                if isinstance(conv, nn.Conv2d):
                    conv.stride = (1, 1)
        raise InputError(
            f"--backbone {self.name}: {self.layer} cannot be brought to {stride} pixels a cell; name an earlier layer"
        )

    def _where(self) -> Cells | None:
        """Centres of the cells: the middle of a patch; in a CNN the first pixel, if every layer is centred."""
        stride = _TRIAL[0][0] // self._trial(_TRIAL[0]).shape[2]
        if self._patch:
            return Cells(stride, (stride - 1) / 2) if self._patch == (stride, stride) else None
        ran: list[nn.Module] = []
        hooks = [m.register_forward_pre_hook(lambda m, _: ran.append(m)) for m in self.network.modules()]
        self._trial(_TRIAL[0])
        for hook in hooks:
            hook.remove()
        return Cells(stride) if all(_is_centred(m) for m in ran) else None

    def _prune(self) -> set[str]:
        """Removes the modules after the layer and returns the names of their tensors."""
        before = set(self.network.state_dict())
        ran: set[nn.Module] = set()
        hooks = [m.register_forward_pre_hook(lambda m, _: ran.add(m)) for m in self.network.modules()]
        self._trial(_TRIAL[0])
        for hook in hooks:
            hook.remove()
        parent, path = self.network, self.layer.split(".")
        for depth in range(len(path)):
            names = list(parent._modules)
            for later in names[names.index(path[depth]) + 1 :]:
                module = parent._modules[later]
                # registration order may differ from execution order: modules that ran are kept
                if module is not None and not ran.intersection(module.modules()):
                    parent._modules[later] = nn.Identity()
            parent = parent.get_submodule(path[depth])
        return before - set(self.network.state_dict())


class _Reached(Exception):
    """Raised once the layer has run, to end the forward pass."""

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output


def _stop(module: nn.Module, inputs: Any, output: Any) -> None:
    raise _Reached(output)


def _along(network: nn.Module, layer: str) -> Iterator[nn.Module]:
    """The modules up to a layer, in order: at each level of its path those before it, then the layer itself."""
    parent = network
    for name in layer.split("."):
        for child, module in parent.named_children():
            if child == name:
                break
            yield module
        parent = parent.get_submodule(name)
    yield parent


def _is_centred(module: nn.Module) -> bool:
    """Whether output i of a layer is centred on input stride * i; true for modules without a kernel."""
    if isinstance(module, nn.Upsample | nn.ConvTranspose2d):
        return False
    if not isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
        return True
    sizes = (_pair(getattr(module, name, 1)) for name in ("kernel_size", "dilation", "padding"))
    return all(2 * padding == dilation * (kernel - 1) for kernel, dilation, padding in zip(*sizes, strict=True))


def _pair(value: Any) -> tuple[Any, Any]:
    return tuple(value) if isinstance(value, tuple) else (value, value)


def _patch_size(network: nn.Module) -> tuple[int, ...] | None:
    """Height and width of a plain vision transformer's patch; None for other networks."""
    if isinstance(network, VisionTransformer):
        return (network.patch_size, network.patch_size)
    size = getattr(getattr(network, "patch_embed", None), "patch_size", None)
    return None if size is None else tuple(size)


def _run_torchvision_vit(vit: VisionTransformer, x: Tensor) -> Tensor:
    """Forward pass up to the last norm at any frame size; torchvision's own accepts only the size it was built for."""
    patches = vit.conv_proj(x)
    tokens = torch.cat([vit.class_token, patches.flatten(2).transpose(1, 2)], 1)
    first, grid = vit.encoder.pos_embedding.split([1, vit.encoder.pos_embedding.shape[1] - 1], 1)
    side = round(grid.shape[1] ** 0.5)
    if (side, side) != patches.shape[2:]:
        grid = grid.transpose(1, 2).unflatten(2, (side, side))
        grid = F.interpolate(grid, patches.shape[2:], mode="bicubic", align_corners=False, antialias=True)
        grid = grid.flatten(2).transpose(1, 2)
    return vit.encoder.ln(vit.encoder.layers(vit.encoder.dropout(tokens + torch.cat([first, grid], 1))))
