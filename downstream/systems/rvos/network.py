"""The network of RVOS: an encoder of frames, and a decoder that is recurrent over objects and frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from downstream.systems.rvos import RVOSConfig
from downstream.systems.rvos.conv_lstm import ConvLSTM
from mug.errors import InputError
from mug.networks.hub import Pretrained
from mug.networks.saved import Format
from mug.networks.trunk import build_trunk
from mug.norm import BatchNorm


class Decoded(NamedTuple):
    """The objects of a frame."""

    logits: Tensor
    """(B, n, H, W), of the mask of each object."""
    hidden: list[Tensor]
    """h(t, i, k), for each level k: (B, n, C, h, w)."""
    stops: Tensor | None
    """(B, n), logits of the stop scores: that prediction i is an object; None without them."""


class RVOS(Pretrained):
    """RVOS (Ventura et al., CVPR 2019).

    For level k, object i and frame t,

        h(t,i,k) = ConvLSTM_k([B_2(h(t,i,k-1)) | f'(t,k) | S(t-1,i)], [h(t,i-1,k) | h(t-1,i,k)])

    with level 0 at the encoder's deepest map, where the input is [f'(t,0) | S(t-1,i)]. B_2 is bilinear upsampling, here
    to the size of f'(t,k). Hidden states of the first object and the first frame are zero, and those that
    `config.recurrence` leaves out have no channels. With the temporal recurrence alone, zero-shot still has the spatial
    one in the first frame, as in the authors' release: nothing else tells its predictions apart. S, the previous mask
    of the object, is max-pooled to the level's grid, and is an input for `config.task` one-shot alone. f'(t,k) is the
    encoder's map behind a 3x3 convolution and batch norm, with as many channels as the state that it is concatenated
    with, as in the authors' release.

    The mask is read from the last level's state, upsampled twofold; the stop score (RSIS) from the states of all
    levels, max-pooled over the frame.

    Raises:
        InputError: the configuration is out of range.
    """

    stored_as = "downstream.systems.rvos.network:FORMAT"

    def __init__(self, config: RVOSConfig) -> None:
        super().__init__()
        if config.readout not in (1, 3):
            raise InputError(f"model.readout: {config.readout} is not possible; use 1 or 3")
        self.config = config
        self.trunk = build_trunk(config.trunk)
        channels = [*self.trunk.channels][::-1]
        levels = len(channels) if config.levels is None else config.levels
        if not 1 <= levels <= len(channels):
            raise InputError(f"model.levels: {levels} is out of range; the trunk has maps for 1 to {len(channels)}")
        if config.hidden < 1 or config.hidden % 2 ** (levels - 1):
            multiple = 2 ** (levels - 1)
            raise InputError(f"model.hidden: {config.hidden} cannot be halved; use a multiple of {multiple}")
        widths = [config.hidden // 2**k for k in range(levels)]
        above = [0, *widths[:-1]]
        zero_shot = config.task == "zero-shot"
        self._spatial = zero_shot or config.recurrence != "temporal"
        self._temporal = config.recurrence != "spatial"
        masks = int(not zero_shot)
        states = self._spatial + self._temporal
        self.skips = nn.ModuleList(_skip(c, up or config.hidden) for c, up in zip(channels, above, strict=False))
        self.levels = nn.ModuleList(
            ConvLSTM(up or config.hidden, up + masks + states * width, width)
            for up, width in zip(above, widths, strict=True)
        )
        self.mask = nn.Conv2d(widths[-1], 1, config.readout, padding=config.readout // 2)
        # states begin within +-0.3 or so; from a usual kernel all masks would stay near one half for long
        nn.init.normal_(self.mask.weight, std=2 * self.mask.weight[0].numel() ** -0.5)
        self.stop = nn.Linear(sum(widths), 1) if zero_shot and config.stop else None
        self._widths = widths

    def load_trunk(self, path: Path | None) -> None:
        """Loads initial weights of the encoder; see `mug.networks.trunk.Trunk.load`."""
        self.trunk.load(path)

    def see(self, frames_bchw: Tensor) -> list[Tensor]:
        """RGB frames (B, 3, H, W) in [0, 1] -> their share of the gates of each level, (B, 4 C, h, w)."""
        maps = self.trunk(frames_bchw)[::-1]
        frame = [cast(ConvLSTM, level).frame for level in self.levels]
        return [conv(skip(x)) for conv, skip, x in zip(frame, self.skips, maps, strict=False)]

    def decode(
        self,
        gates: Sequence[Tensor],
        size: tuple[int, int],
        count: int,
        hidden: Sequence[Tensor] | None = None,
        masks_bnhw: Tensor | None = None,
    ) -> Decoded:
        """Segments the objects of a frame, one after the other.

        Args:
            gates: `see` of the frames.
            size: H, W of the masks: those of the frames.
            count: n, the number of objects, at least 1.
            hidden: Those of the previous frame; None for the first. Objects that it lacks begin at zero.
            masks_bnhw: S, (B, n, H, W) in [0, 1], the previous masks, for one-shot.
        """
        sizes = [(x.shape[2], x.shape[3]) for x in gates]
        zeros = [x.new_zeros(len(x), c, *x.shape[2:]) for x, c in zip(gates, self._widths, strict=True)]
        shown = [F.adaptive_max_pool2d(masks_bnhw.to(gates[0]), s) for s in sizes] if masks_bnhw is not None else None
        spatial = self.config.recurrence != "temporal" or (self._spatial and hidden is None)
        states: list[list[Tensor]] = []
        cells: list[Tensor | None] = [None] * len(sizes)
        for i in range(count):
            state: list[Tensor] = []
            for k, level in enumerate(self.levels):
                rest = [enlarge(state[-1], sizes[k])] if state else []
                if shown is not None:
                    rest.append(shown[k][:, i : i + 1])
                if self._spatial:
                    rest.append(states[-1][k] if states and spatial else zeros[k])
                if self._temporal:
                    rest.append(hidden[k][:, i] if hidden is not None and i < hidden[k].shape[1] else zeros[k])
                h, cell = level(gates[k], torch.cat(rest, 1), cells[k])
                state.append(h)
                cells[k] = cell if spatial else None
            states.append(state)
        together = [torch.stack(level, 1) for level in zip(*states, strict=True)]
        return Decoded(self._read(together[-1], size), together, self._stops(together))

    def _read(self, hidden_bnchw: Tensor, size: tuple[int, int]) -> Tensor:
        """Mask logits (B, n, H, W) from the states of the last level."""
        x = hidden_bnchw.flatten(0, 1)
        logits = self.mask(enlarge(x, (2 * x.shape[2], 2 * x.shape[3])))
        return enlarge(logits, size)[:, 0].unflatten(0, hidden_bnchw.shape[:2])

    def _stops(self, hidden: Sequence[Tensor]) -> Tensor | None:
        if self.stop is None:
            return None
        scores: Tensor = self.stop(torch.cat([x.amax((-2, -1)) for x in hidden], -1))[..., 0]
        return scores


def enlarge(x_bchw: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear upsampling that maps corners to corners, as in the authors' release."""
    return F.interpolate(x_bchw, size, mode="bilinear", align_corners=True)


def _skip(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 3, padding=1), BatchNorm(out_channels))


FORMAT = Format("rvos", RVOSConfig, RVOS)
"""Weights files of RVOS."""
