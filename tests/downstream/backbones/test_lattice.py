"""Where cells lie: said by backbones as they are built, and kept to wherever labels go to cells or maps to pixels."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from downstream.backbones.by_name import named_network
from downstream.backbones.features import PhiFeatures, lab_features
from downstream.backbones.lattice import EVEN, Cells, Lattice, cells_of
from downstream.calibrate import Recorder
from mug.backbone import Phi
from mug.options import BackboneConfig


@pytest.mark.parametrize(
    ("name", "stride", "cells"),
    [
        ("torchvision:resnet18:layer3", 8, Cells(8)),
        ("torchvision:resnet18:layer2", None, Cells(8)),
        ("torchvision:vit_b_32", None, Cells(32, 15.5)),
        ("torchvision:vgg11:features.10", None, None),  # even kernels, unpadded
        ("torchvision:densenet121:features.denseblock3", None, None),
    ],
)
def test_what_networks_say_of_their_cells(name: str, stride: int | None, cells: Cells | None) -> None:
    assert named_network(name, None, stride).cells == cells


def test_a_resnet_is_centred_where_it_says() -> None:
    """As in `tests/mug/test_grid.py`: even kernels spread an impulse evenly to all sides of its cell."""
    features = named_network("torchvision:resnet18:layer3", None, 8)
    for module in features.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.bias, 0.5)
    assert features.cells is not None
    frame = torch.full((1, 3, 256, 256), 0.4)
    with_impulse = frame.clone()
    with_impulse[..., 15 * features.cells.stride, 18 * features.cells.stride] += 0.3
    energy = (features(with_impulse) - features(frame)).abs().sum(1)[0]
    axis = torch.arange(32.0)
    found = [float((energy.sum(dim) * axis).sum() / energy.sum()) for dim in (1, 0)]
    assert found == pytest.approx([15, 18], abs=0.05)


def test_phi_says_it_too_and_a_replay_passes_it_on() -> None:
    features = PhiFeatures(Phi(BackboneConfig(depth=18, stages=2, stride=4)).eval())
    assert cells_of(features) == cells_of(Recorder(features).replay()) == Cells(4)
    assert cells_of(lab_features) is None


def test_a_cell_has_the_share_of_what_lies_around_its_centre() -> None:
    """Stride 4: cell 1 reaches from pixel 2 to half of pixel 6; at the border a cell is cut off."""
    mask = torch.zeros(1, 1, 4, 12)
    mask[..., 4:] = 1
    over = Lattice((4, 12), Cells(4))
    assert over.shrink(mask, (1, 3)).flatten().tolist() == pytest.approx([0, 2.5 / 4, 1])
    doubled = F.interpolate(mask, scale_factor=2, mode="nearest")  # a mask may be larger than what the backbone sees
    assert over.shrink(doubled, (1, 3)).flatten().tolist() == pytest.approx([0, 2.5 / 4, 1])
    assert over.shrink(mask, (1, 3), "nearest").flatten().tolist() == [0, 1, 1]
    assert EVEN.shrink(mask, (1, 3)).flatten().tolist() == [0, 1, 1]


def test_patches_of_a_padded_frame_end_beyond_it() -> None:
    """Two patches of 8 over 12 pixels: the second has 4 of them, all its own."""
    mask = torch.zeros(1, 1, 8, 12)
    mask[..., 8:] = 1
    assert Lattice((8, 12), Cells(8, 3.5)).shrink(mask, (1, 2)).flatten().tolist() == [0, 1]
    assert EVEN.shrink(mask, (1, 2)).flatten().tolist() == pytest.approx([0, 2 / 3])


@pytest.mark.parametrize("cells", [None, Cells(8), Cells(8, 3.5)])
@pytest.mark.parametrize("how", ["area", "bilinear", "nearest"])
def test_what_goes_to_cells_and_back_stays_where_it_was(cells: Cells | None, how: str) -> None:
    over, side = Lattice((96, 96), cells), torch.arange(192.0)
    ramp = side.expand(1, 1, 192, 192)
    back = over.enlarge(over.shrink(ramp, (12, 12), how), (192, 192))  # type: ignore[arg-type]
    off = (back - ramp)[0, 0, :, 32:160].abs()
    assert float(off.max()) <= (1.0 if how == "nearest" else 0.5)


def test_the_nearest_cell_is_that_of_its_centre() -> None:
    wide = Lattice((4, 12), Cells(4)).enlarge(torch.arange(3.0).view(1, 1, 1, 3), (4, 12), "nearest")
    assert wide[0, 0, 0].tolist()[:2] == [0, 0]
    assert wide[0, 0, 0].tolist()[3:6] == [1, 1, 1]
    assert wide[0, 0, 0].tolist()[7:] == [2] * 5
