"""Pictures of a training run: labels and predictions, tracked patches, estimated warps."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mug.backbone import Features
from mug.granularity.short_term import patch_size, short_term_loss
from mug.grid import enlarge
from mug.model import Batch, MuG

SAMPLES = 4
START, END = (0.1, 0.9, 0.2), (1.0, 0.2, 0.1)


@torch.no_grad()
def training_pictures(network: MuG, batch: Batch) -> dict[str, Tensor]:
    """Pictures (3, H, W) in [0, 1] of the first samples of a batch, by name; the network is not changed.

    `labels`: each reference frame, its target, P of the single frame and the readout from r, from left to right.
    `tracking`: the clip with the patch at its start in green and, after tracking forth and back, at its end in red.
    `warps`: a frame, its warped copy and the frame under kappa's estimate of the warp; then the same for a long-term
    pair.

    With several training processes, all have to call it.
    """
    trained = network.training
    network.eval()
    few = {name: value[:SAMPLES] for name, value in vars(batch).items()}
    batch = Batch(**few)
    pictures = {
        "labels": _labels(network, batch),
        "tracking": _tracking(network, batch),
        "warps": _warps(network, batch),
    }
    network.train(trained)
    return pictures


def _labels(network: MuG, batch: Batch) -> Tensor:
    frames, labels = batch.references, batch.labels[:, batch.spans["references"]]
    source, seen = (
        Features(*(x.unflatten(0, (len(frames), -1)) for x in network.phi(part.flatten(0, 1))))
        for part in (batch.abstract, frames)
    )
    rows = []
    for r in range(frames.shape[1]):
        query = Features(*(x[:, r] for x in seen))
        single = network.rho(query.trunk).float().sigmoid()
        target = labels[:, r : r + 1].nan_to_num(0.5)  # grey: no label
        maps = [
            _as_frame(x, frames, network.phi.stride) for x in (target, single, network.segment_frame(query, source))
        ]
        rows.append(torch.stack([frames[:, r].float(), *maps], 1))
    return _tiles(torch.stack(rows, 1).flatten(0, 1))


def _tracking(network: MuG, batch: Batch) -> Tensor:
    count = batch.clip.shape[1]
    match = network.phi(batch.clip.flatten(0, 1)).match.unflatten(0, (-1, count))
    _, end = short_term_loss(network.phi, network.short, batch.clip, match, batch.patch)
    clip = batch.clip.float().clone()
    side = patch_size(clip.shape[-1])
    for n in range(len(clip)):
        for place, colour in ((batch.patch[n], START), (end[n], END)):
            _outline(clip[n, 0], place, side, colour)
    return _tiles(clip)


def _warps(network: MuG, batch: Batch) -> Tensor:
    frame, warped = batch.abstract[:, 0].float(), batch.warped[:, 0].float()
    sample = torch.arange(len(frame), device=frame.device)
    first, second = (batch.abstract[sample, position].float() for position in batch.pair.long().unbind(1))
    columns = []
    for source, query in ((frame, warped), (first, second)):
        theta = network.kappa(network.phi(query).match, network.phi(source).match)
        grid = F.affine_grid(theta.float(), list(source.shape), align_corners=False)
        columns += [source, query, F.grid_sample(source, grid, align_corners=False)]
    return _tiles(torch.stack(columns, 1))


def _as_frame(map_b1hw: Tensor, like: Tensor, stride: int) -> Tensor:
    size = like.shape[-2:]
    return enlarge(map_b1hw.float(), size, size, stride).expand(-1, 3, -1, -1)


def _tiles(rows: Tensor) -> Tensor:
    """(rows, columns, 3, H, W) -> one picture (3, rows * H, columns * W)."""
    return rows.permute(2, 0, 3, 1, 4).flatten(1, 2).flatten(2, 3)


def _outline(frame_chw: Tensor, top_left: Tensor, side: int, colour: tuple[float, float, float]) -> None:
    x, y = (int(v) for v in top_left)
    paint = frame_chw.new_tensor(colour)[:, None]
    right, bottom = (min(v + side, frame_chw.shape[-1]) - 1 for v in (x, y))
    frame_chw[:, y : bottom + 1, x] = frame_chw[:, y : bottom + 1, right] = paint
    frame_chw[:, y, x : right + 1] = frame_chw[:, bottom, x : right + 1] = paint
