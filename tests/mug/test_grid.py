"""Cells lie where `mug.grid` says: of the network itself, of labels, of warps, and of maps that are enlarged."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mug.backbone import Phi
from mug.grid import cells_to_frame, enlarge, frame_to_cells, warp_cells
from mug.norm import BatchNorm
from mug.options import PRESETS, BackboneConfig
from pretrain.augment import render

CONFIGS = [
    *PRESETS.values(),
    BackboneConfig(depth=18, stages=3, stride=8),
    BackboneConfig(depth=18, stages=3, stride=16),
    BackboneConfig(depth=18, stages=4, stride=8, hypercolumn=True),
    BackboneConfig(depth=50, stages=3, stride=8, dilated=True),
]


def coordinates(size: int) -> Tensor:
    """(1, 2, S, S): x and y of every pixel."""
    y, x = torch.meshgrid(torch.arange(float(size)), torch.arange(float(size)), indexing="ij")
    return torch.stack([x, y])[None]


def centroid(energy_hw: Tensor) -> Tensor:
    """(x, y) in cells."""
    place = torch.stack([(energy_hw * axis).sum() for axis in coordinates(len(energy_hw))[0]])
    return place / energy_hw.sum()


def impulse(size: int, x: int, y: int) -> Tensor:
    frame = torch.full((1, 3, size, size), 0.4)
    frame[..., y, x] += 0.3
    return frame


def seen(phi: Phi, frame: Tensor) -> Tensor:
    """(h, w): how much the trunk changes when the frame does from a plain one."""
    with torch.no_grad():
        return (phi(frame).trunk - phi(torch.full_like(frame, 0.4)).trunk).abs().sum(1)[0]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_the_network_is_centred_on_the_first_pixel_of_each_stride(config: BackboneConfig) -> None:
    """Even kernels let an impulse spread evenly to all sides of its cell; nothing but the geometry is left."""
    phi = Phi(config).double().eval()  # what an impulse leaves at the frame's borders drowns in float32
    for module in phi.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
        elif isinstance(module, BatchNorm):
            nn.init.constant_(module.bias, 0.5)  # nothing falls below 0, where it would be cut off
    size = 32 * config.stride
    for cell in ((16, 16), (15, 18)):
        x, y = (config.stride * c for c in cell)
        found = centroid(seen(phi, impulse(size, x, y).double()))
        # the frame's borders are zero
        torch.testing.assert_close(found, torch.tensor(cell).double(), atol=0.05, rtol=0)


@pytest.mark.parametrize(("size", "stride"), [(64, 8), (60, 4), (30, 8)])
def test_labels_are_read_around_the_cells(size: int, stride: int) -> None:
    """Of a label that rises to the right and a sample that shows it all: its value at each cell's own pixel."""
    ramp = (coordinates(size)[0, 0] * 255 / size).round().to(torch.uint8)
    raw = {
        "canvas": torch.zeros(1, 9, 3, size, size, dtype=torch.uint8),
        "labels": ramp.expand(1, 7, size, size),
        "labelled": torch.ones(1, 7, dtype=torch.bool),
        "theta": torch.eye(2, 3).expand(1, 9, 2, 3),
        "warp": torch.eye(2, 3).expand(1, 2, 2, 3),
        "colour": torch.eye(3).expand(1, 9, 3, 3),
        "contrast": torch.ones(1, 9),
        "blur": torch.zeros(1, 9),
        "patch": torch.zeros(1, 2, dtype=torch.long),
        "pair": torch.tensor([[0, 1]]),
    }
    label = render(raw, ["a"], size, stride).labels[0, 0]
    expected = (torch.arange(label.shape[1]) * stride / size).expand_as(label)
    torch.testing.assert_close(label[:, 1:-1], expected[:, 1:-1], atol=1 / 128, rtol=0)


@pytest.mark.parametrize("stride", [1, 4, 8])
def test_warps_take_cells_where_the_frame_goes(stride: int) -> None:
    """Pixels that say where they are, warped as frames are, read at the cells: the same as the warped cells."""
    size, theta = 96, torch.tensor([[[0.7, -0.2, 0.1], [0.3, 0.6, -0.05]]])
    frame = coordinates(size)
    warped = F.grid_sample(frame, F.affine_grid(theta, [1, 2, size, size], align_corners=False), align_corners=False)
    cells = warp_cells(theta, (size // stride, size // stride), stride)[0]
    inside = ((cells > 0) & (cells < size / stride - 1)).all(1)
    assert inside.float().mean() > 0.5
    expected = warped[0, :, ::stride, ::stride].flatten(1).T / stride
    torch.testing.assert_close(cells[inside], expected[inside], atol=1e-3, rtol=0)


def test_warp_cells_speaks_cells() -> None:
    identity = torch.eye(2, 3)[None]
    cells = warp_cells(identity, (2, 3))[0]
    torch.testing.assert_close(cells, torch.tensor([[0.0, 0], [1, 0], [2, 0], [0, 1], [1, 1], [2, 1]]))
    theta = torch.tensor([[[1.0, 0, 2 / 3], [0, 1, 0]]])  # two thirds of [-1, 1] over three cells: one cell
    torch.testing.assert_close(warp_cells(theta, (2, 3))[0], cells + torch.tensor([1.0, 0]))


@pytest.mark.parametrize(("frame", "size"), [((64, 96), (64, 96)), ((64, 96), (128, 192)), ((61, 90), (122, 180))])
def test_enlarged_maps_lie_over_their_frame(frame: tuple[int, int], size: tuple[int, int]) -> None:
    stride = 8
    rows, columns = (-(-side // stride) for side in frame)
    cells = (
        coordinates(max(rows, columns))[..., :rows, :columns] * stride
    )  # each cell says which pixel it is centred on
    wide = enlarge(cells, size, frame, stride)
    for channel, axis in ((0, 1), (1, 0)):
        pixel = (torch.arange(size[axis]) + 0.5) * frame[axis] / size[axis] - 0.5
        values = wide[0, channel].mean(1 - axis)
        inside = (pixel >= 0) & (pixel <= stride * (cells.shape[-1 - channel] - 1))
        torch.testing.assert_close(values[inside], pixel[inside], atol=1e-2, rtol=0)


def test_the_two_directions_are_inverse() -> None:
    points = torch.linspace(-1, 1, 7)
    torch.testing.assert_close(cells_to_frame(frame_to_cells(points, 50, 8), 50, 8), points)
    assert cells_to_frame(torch.tensor(0.0), 64, 8) == pytest.approx(1 / 64 - 1)
