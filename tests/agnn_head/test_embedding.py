"""The trunks and the pyramid: sizes, norms, and agreement with torchvision's DeepLabV3."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from agnn_head.embedding import ASPP, DeepLabTrunk, Embedding
from agnn_head.options import EmbeddingConfig
from mug.errors import InputError
from mug.norm import BatchNorm
from mug.options import BackboneConfig

PHI = EmbeddingConfig(backbone=BackboneConfig(depth=18, stages=2, stride=8))
DEEPLAB = EmbeddingConfig("deeplab", depth=50)


@pytest.mark.parametrize("config", [PHI, DEEPLAB])
def test_a_cell_is_eight_pixels_rounded_up(config: EmbeddingConfig) -> None:
    with torch.no_grad():
        v = Embedding(config, 12).eval()(torch.rand(1, 3, 41, 56))
    assert v.shape == (1, 12, 6, 7)
    assert v.min() >= 0


@pytest.mark.parametrize("config", [PHI, DEEPLAB])
def test_all_norms_span_all_processes(config: EmbeddingConfig) -> None:
    norms = [m for m in Embedding(config, 12).modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert norms and all(type(m) is BatchNorm for m in norms)


def test_one_small_image_trains() -> None:
    embedding = Embedding(PHI, 12)
    embedding(torch.rand(1, 3, 32, 32)).sum().backward()
    assert embedding.aspp.pooled.weight.grad is not None


def test_frames_are_normalised_with_the_statistics_of_imagenet() -> None:
    trunk = DeepLabTrunk(50).eval()
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1).expand(1, 3, 16, 16)
    seen = []
    trunk.resnet.conv1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        trunk(mean)
        trunk(mean + torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))
    torch.testing.assert_close(seen[0], torch.zeros_like(seen[0]))
    torch.testing.assert_close(seen[1], torch.ones_like(seen[1]))


def test_the_pyramid_sees_the_rates_it_was_given_and_the_whole_frame() -> None:
    pyramid = ASPP(2, (1, 3, 5), 4).eval().double()
    frame = torch.zeros(1, 2, 13, 13, dtype=torch.float64, requires_grad=True)
    for branch, rate in zip(pyramid.convs, (0, 1, 3, 5), strict=True):
        seen = torch.autograd.grad(branch[0](frame)[0, :, 6, 6].sum(), frame)[0][0, 0].nonzero()
        assert {tuple(p) for p in seen.tolist()} == {
            (6 + rate * a, 6 + rate * b) for a in (-1, 0, 1) for b in (-1, 0, 1)
        }
    pooled = pyramid.pooled(frame.mean((2, 3), keepdim=True))
    assert torch.autograd.grad(pooled.sum(), frame)[0].count_nonzero() == frame.numel()


def test_what_there_is_not_is_named() -> None:
    with pytest.raises(InputError, match=r"embedding\.depth: 34"):
        Embedding(EmbeddingConfig("deeplab", depth=34), 8)
    with pytest.raises(InputError, match=r"embedding\.kind: 'vgg'"):
        Embedding(EmbeddingConfig("vgg"), 8)  # type: ignore[arg-type]
