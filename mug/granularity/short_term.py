"""Short-term granularity: a patch tracked forwards and backwards ends where it started (MuG Eq. 3-5)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mug.backbone import Phi
from mug.norm import running_statistics_kept
from mug.run.processes import first_row, gather, share_of_mean

PATCHES_TO_A_SIDE = 4
"""A 64 px patch in a 256 px frame (MuG Sec. 3.2), in proportion at other sizes."""

SIGMA = 0.1
"""Standard deviation of the Gaussian target as a share of the patch's side."""

FLAT = 1e-5
"""Added to the standard deviation of a response map: in a flat map no place stands out."""

DROPPED = 0.1
"""Share of the batch whose tracks are worst and left out of the loss: occluded or out of view."""


def patch_size(frame_size: int) -> int:
    """Side in pixels of the tracked patch, for frames with this side."""
    return frame_size // PATCHES_TO_A_SIDE


class Response(nn.Module):
    """Logits of the correlation of patch and frame: a learned affine function of the standardised correlation.

    Eq. 3 and 4 of MuG take the sigmoid of the correlation itself. But the mean similarity of features drops within a
    few steps from nearly 1 to nearly 0, faster than a scale could be learned: all responses would saturate and the loss
    would lose its gradient. So a response is measured in standard deviations from the mean of its map, both computed
    over the positions where the patch fits into the frame.
    """

    def __init__(self) -> None:
        super().__init__()
        # initially, four deviations above the mean give one half
        self.gain = nn.Parameter(torch.tensor(1.0))
        self.bias = nn.Parameter(torch.tensor(-4.0))

    def forward(self, patch_bchw: Tensor, frame_bchw: Tensor) -> Tensor:
        """Correlates (B, C, hp, wp) with (B, C, h, w): logits (B, h, w) on the frame's grid.

        The value at (y, x) belongs to the patch whose top left cell is (y - hp // 2, x - wp // 2). The frame is padded
        with zeros.
        """
        batch, channels = frame_bchw.shape[:2]
        rows, columns = patch_bchw.shape[-2:]
        frame = F.pad(frame_bchw, (columns // 2, columns - 1 - columns // 2, rows // 2, rows - 1 - rows // 2))
        stacked = frame.reshape(1, batch * channels, *frame.shape[-2:])
        with torch.autocast(frame.device.type, enabled=False):
            kernel = patch_bchw.to(frame.dtype)
            response = F.conv2d(stacked, kernel, groups=batch)[0] / (rows * columns)
            deviation, mean = torch.std_mean(_fitting(response, patch_bchw), (1, 2), keepdim=True)
        return self.gain * (response - mean) / (deviation + FLAT) + self.bias


def short_term_loss(
    phi: Phi, response: Response, clip: Tensor, match: Tensor, top_left: Tensor
) -> tuple[Tensor, Tensor]:
    """The squared error between the backward response and the Gaussian at the start (MuG Eq. 5), over three frames.

    Eq. 5 prints a squared norm, a sum over the lattice. Here it is divided by the Gaussian's own squared norm, pi
    sigma^2 cells: ||S - G||^2 / ||G||^2. So a zero response costs 1 on every grid, and the term's weight relative to
    the others does not depend on the grid.

    The position of the highest response has no gradient, so only the last backward step is differentiated.

    Args:
        phi: Encodes the patches.
        response: Correlates them with the frames.
        clip: (N, 3, 3, S, S), frames t, t', t'' in temporal order.
        match: (N, 3, 64, h, w), the matching features of the clip.
        top_left: (N, 2) integer, (x, y) px of the patch in frame t.

    Returns:
        The loss: this process's share of the mean over the batches of all processes without their worst tenth. And the
        end of the track in frame t: (N, 2), (x, y) px.
    """
    size = patch_size(clip.shape[-1])
    place = top_left.long()
    # phi's running estimates describe whole frames, its input at inference: patches must not update them. Nor are they
    # used here, as they lag far behind in early steps; patches are normalised by their batch, like the frames.
    with running_statistics_kept(phi):
        with torch.no_grad():
            for start, end in ((0, 1), (1, 2), (2, 1)):
                patch = phi(crop(clip[:, start], place, size)).match
                place = _peak(response(patch, match[:, end]), patch, phi.stride, clip.shape[-1] - size)
        patch = phi(crop(clip[:, 1], place, size)).match
    logits = response(patch, match[:, 0])
    # on a grid much coarser than the patch, a narrower Gaussian would fall between the cells
    sigma = max(SIGMA * size, phi.stride / 2)
    target = _gaussian(top_left, patch, logits, phi.stride, sigma)
    error = (logits.sigmoid() - target).square().sum((1, 2)) / (math.pi * (sigma / phi.stride) ** 2)
    kept = _best_tracks(error.detach())
    end_place = _peak(logits.detach(), patch, phi.stride, clip.shape[-1] - size)
    return share_of_mean(error[kept].sum(), kept.sum()), end_place


def crop(frames: Tensor, top_left: Tensor, size: int) -> Tensor:
    """Cuts a square of `size` px out of each frame: (N, 3, S, S) and (N, 2) -> (N, 3, size, size)."""
    steps = torch.arange(size, device=frames.device)
    x, y = top_left.to(frames.device).clamp(0, frames.shape[-1] - size).unbind(1)
    sample = torch.arange(len(frames), device=frames.device)[:, None, None]
    return frames[sample, :, (y[:, None] + steps)[:, :, None], (x[:, None] + steps)[:, None, :]].movedim(-1, 1)


def _peak(logits_bhw: Tensor, patch_bchw: Tensor, stride: int, last: int) -> Tensor:
    """The top left pixel (N, 2) of the patch at the highest response among positions where it fits into the frame.

    Cells have the same positions in a patch as in a frame (`mug.grid`), so no offset is needed.
    """
    fits = _fitting(logits_bhw, patch_bchw)
    best = fits.flatten(1).argmax(1)
    cell = torch.stack([best % fits.shape[2], best.div(fits.shape[2], rounding_mode="floor")], 1)
    return (cell * stride).clamp(max=last)


def _fitting(map_bhw: Tensor, patch_bchw: Tensor) -> Tensor:
    """The part of a response map where the whole patch is inside the frame."""
    rows, columns = patch_bchw.shape[-2:]
    height, width = map_bhw.shape[-2:]
    top, left = rows // 2, columns // 2
    return map_bhw[:, top : top + height - rows + 1, left : left + width - columns + 1]


def _gaussian(top_left: Tensor, patch_bchw: Tensor, like_bhw: Tensor, stride: int, sigma: float) -> Tensor:
    """G_p (N, h, w): 1 at the position of the response map that belongs to `top_left`; `sigma` in px."""
    rows, columns = patch_bchw.shape[-2:]
    x, y = (top_left.to(like_bhw) / stride).unbind(1)
    across = torch.arange(like_bhw.shape[2], device=like_bhw.device) - (x + columns // 2)[:, None]
    down = torch.arange(like_bhw.shape[1], device=like_bhw.device) - (y + rows // 2)[:, None]
    distance = across[:, None, :].square() + down[:, :, None].square()
    return torch.exp(-distance / (2 * (sigma / stride) ** 2))


def _best_tracks(error_n: Tensor) -> Tensor:
    """Mask (N,) of this process's samples that are not among the worst tenth of all processes' batches."""
    everyone = gather(error_n)
    keep = len(everyone) - int(DROPPED * len(everyone) + 0.5)
    kept = torch.zeros_like(everyone, dtype=torch.bool)
    kept[everyone.argsort(stable=True)[:keep]] = True
    begin = first_row(error_n)
    return kept[begin : begin + len(error_n)]
