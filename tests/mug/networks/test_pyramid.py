"""The pyramid: sizes, norms, and agreement with torchvision's DeepLabV3."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch
import torchvision
from torch import nn

from mug.errors import InputError
from mug.networks.pyramid import ASPP, Embedding
from mug.norm import BatchNorm
from mug.options import BackboneConfig, EmbeddingConfig

PHI = EmbeddingConfig(backbone=BackboneConfig(depth=18, stages=2, stride=8))
RESNET = EmbeddingConfig("resnet", depth=50)


@pytest.mark.parametrize("config", [PHI, RESNET])
def test_a_cell_is_eight_pixels_rounded_up(config: EmbeddingConfig) -> None:
    with torch.no_grad():
        v = Embedding(config, 12).eval()(torch.rand(1, 3, 41, 56))
    assert v.shape == (1, 12, 6, 7)
    assert v.min() >= 0


@pytest.mark.parametrize("config", [PHI, RESNET])
def test_all_norms_span_all_processes(config: EmbeddingConfig) -> None:
    norms = [m for m in Embedding(config, 12).modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert norms and all(type(m) is BatchNorm for m in norms)


def test_one_small_image_trains() -> None:
    embedding = Embedding(PHI, 12)
    embedding(torch.rand(1, 3, 32, 32)).sum().backward()
    assert embedding.aspp.pooled.weight.grad is not None


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


# --- starting from torchvision's DeepLabV3 ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def deeplab() -> nn.Module:
    """Torchvision's network with statistics that are not their defaults."""
    torch.manual_seed(0)
    net = torchvision.models.segmentation.deeplabv3_resnet50(weights=None, weights_backbone=None, aux_loss=True)
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.running_mean.normal_(std=0.1)
            m.running_var.uniform_(0.8, 1.2)
            nn.init.uniform_(m.weight, 0.5, 1)
    return net.eval()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_with_its_own_rates_it_embeds_as_torchvision_does(deeplab: nn.Module, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"deeplab{suffix}"
    (torch.save if suffix == ".pth" else safetensors.torch.save_file)(deeplab.state_dict(), path)
    embedding = Embedding(EmbeddingConfig("resnet", depth=50, rates=(12, 24, 36)), 256).eval()
    embedding.load(path)
    frame, trunk = torch.rand(1, 3, 40, 48), embedding.trunk
    with torch.no_grad():
        expected = deeplab.classifier[0](deeplab.backbone((frame - trunk.mean) / trunk.std)["out"])
        assert expected.std() > 0
        torch.testing.assert_close(embedding(frame), expected, rtol=1e-4, atol=1e-4)


def test_with_other_rates_it_takes_the_trunk_alone(deeplab: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "old.pth"
    torch.save({k: x for k, x in deeplab.state_dict().items() if "num_batches" not in k}, path)
    embedding = Embedding(RESNET, 8).eval()
    before = embedding.aspp.convs[1][0].weight.clone()
    embedding.load(path)
    frame, trunk = torch.rand(1, 3, 24, 32), embedding.trunk
    with torch.no_grad():
        expected = deeplab.backbone((frame - trunk.mean) / trunk.std)["out"]
        torch.testing.assert_close(trunk(frame)[-1], expected)
    assert torch.equal(embedding.aspp.convs[1][0].weight, before)


def test_the_wide_pyramid_is_not_torchvisions(deeplab: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "deeplab.pth"
    torch.save(deeplab.state_dict(), path)
    embedding = Embedding(EmbeddingConfig("resnet", depth=50, rates=(12, 24, 36), wide=True), 8).eval()
    before = embedding.aspp.convs[1][0].weight.clone()
    embedding.load(path)
    assert torch.equal(embedding.aspp.convs[1][0].weight, before)
    assert before.shape == (512, 2048, 3, 3) and embedding.aspp.project[0].weight.shape == (8, 2560, 3, 3)
    v = embedding(torch.rand(2, 3, 24, 32))
    assert v.shape == (2, 8, 3, 4) and v.min() < 0  # a PReLU


def test_a_classifier_gives_the_trunk_alone(tmp_path: Path) -> None:
    net = torchvision.models.resnet50(weights=None)
    torch.save(net.state_dict(), tmp_path / "resnet50.pth")
    embedding = Embedding(EmbeddingConfig("resnet", depth=50, rates=(12, 24, 36)), 8)
    before = embedding.aspp.convs[1][0].weight.clone()
    embedding.load(tmp_path / "resnet50.pth")
    assert torch.equal(embedding.trunk.resnet.layer4[2].conv3.weight, net.layer4[2].conv3.weight)
    assert torch.equal(embedding.aspp.convs[1][0].weight, before)


def test_files_of_other_networks_are_refused(tmp_path: Path) -> None:
    embedding = Embedding(RESNET, 8)
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "resnet18.pth")
    (tmp_path / "noise.pth").write_bytes(b"noise")
    for name, message in (("resnet18.pth", "another architecture"), ("noise.pth", "damaged"), ("no.pth", "no such")):
        with pytest.raises(InputError, match=rf"{name}: .*{message}"):
            embedding.load(tmp_path / name)
