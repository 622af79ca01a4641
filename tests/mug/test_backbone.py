"""Grids, channels and torchvision compatibility of phi."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision

from mug import backbone
from mug.backbone import Phi, for_inference
from mug.checkpoint import load_phi_into_torchvision, load_torchvision, write_tensors
from mug.errors import InputError
from mug.options import PRESETS, BackboneConfig


@pytest.mark.parametrize("name", sorted(PRESETS))
@pytest.mark.parametrize(("height", "width"), [(64, 64), (50, 71)])
def test_presets_have_the_papers_channels_and_their_grid(name: str, height: int, width: int) -> None:
    phi = Phi(PRESETS[name]).eval()
    with torch.no_grad():
        seen = phi(torch.rand(1, 3, height, width))
    grid = (-(-height // phi.stride), -(-width // phi.stride))
    assert [tuple(x.shape) for x in seen] == [(1, c, *grid) for c in (512, 64, 128)]
    torch.testing.assert_close(seen.match.norm(dim=1), torch.ones(1, *grid))


@pytest.mark.parametrize(
    ("depth", "stages", "stride"), [(18, 1, 4), (18, 3, 16), (34, 2, 8), (50, 3, 8), (101, 4, 16), (18, 4, 4)]
)
def test_every_grid_that_can_be_asked_for_is_met(depth: int, stages: int, stride: int) -> None:
    phi = Phi(BackboneConfig(depth=depth, stages=stages, stride=stride, dilated=True)).eval()
    with torch.no_grad():
        assert phi(torch.rand(1, 3, 32, 48)).trunk.shape == (1, 512, 32 // stride, 48 // stride)


@pytest.mark.parametrize("config", [*PRESETS.values(), BackboneConfig(stages=3), BackboneConfig(hypercolumn=True)])
def test_nothing_is_convolved_between_the_last_shared_kernel_and_the_heads(config: BackboneConfig) -> None:
    phi = Phi(config).eval()
    order: list[torch.nn.Module] = []
    for module in phi.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda module, *_: order.append(module))
    phi(torch.rand(1, 3, 32, 32))
    assert order[-2:] == [phi.match_head, phi.value_head]
    assert order[-3].weight is phi.last_shared or "downsample" in dict(map(reversed, phi.named_modules()))[order[-3]]


def test_a_hypercolumn_reads_every_group() -> None:
    phi = Phi(BackboneConfig(depth=18, stages=3, stride=8, hypercolumn=True)).eval()
    frame = torch.rand(1, 3, 64, 48)
    before = phi(frame)
    assert [tuple(x.shape) for x in before] == [(1, c, 8, 6) for c in (512, 64, 128)]
    with torch.no_grad():
        phi.project[0].weight[:, 64 + 128 :] = 0  # the last group is heard no more
    seen = phi(frame).trunk
    assert not torch.equal(seen, before.trunk)
    assert seen.std() > 0


def test_dilation_widens_what_a_cell_sees() -> None:
    torch.manual_seed(0)
    reach = []
    for dilated in (False, True):
        phi = Phi(BackboneConfig(depth=18, stages=2, stride=4, dilated=dilated)).eval()
        frame = torch.rand(1, 3, 128, 128, requires_grad=True)
        phi(frame).trunk[0, :, 16, 16].sum().backward()
        reach.append(int((frame.grad.abs().sum((0, 1, 2)) > 0).sum()))
    assert reach[1] > reach[0]


def test_frames_are_normalised_by_phi_itself() -> None:
    phi = Phi(BackboneConfig())
    seen = []
    phi.resnet.conv1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    phi(torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1).expand(2, 3, 32, 32))
    torch.testing.assert_close(seen[0], torch.zeros(2, 3, 32, 32))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (BackboneConfig(depth=20), "depth"),
        (BackboneConfig(stages=5), "stages"),
        (BackboneConfig(stride=6), "stride"),
        (BackboneConfig(stages=1, stride=8), "stride"),
    ],
)
def test_impossible_networks_are_refused(config: BackboneConfig, words: str) -> None:
    with pytest.raises(InputError, match=f"backbone.{words}"):
        Phi(config)


def test_torchvision_weights_move_into_phi(tmp_path: Path) -> None:
    source = torchvision.models.resnet18()
    torch.save(source.state_dict(), tmp_path / "resnet18.pth")
    phi = Phi(BackboneConfig(depth=18, stages=4, stride=16))
    load_torchvision(phi, tmp_path / "resnet18.pth")
    for name, x in phi.resnet.state_dict().items():
        assert torch.equal(x, source.state_dict()[name]), name


def test_phi_moves_into_torchvision_and_computes_the_same(tmp_path: Path) -> None:
    phi = Phi(BackboneConfig(depth=18, stages=3, stride=16)).eval()
    network = torchvision.models.resnet18().eval()
    load_phi_into_torchvision(phi, network)
    frame = torch.rand(1, 3, 64, 64)
    x = (frame - phi.mean) / phi.std
    x = network.maxpool(network.relu(network.bn1(network.conv1(x))))
    trunk = phi.project(network.layer3(network.layer2(network.layer1(x))))
    torch.testing.assert_close(trunk, phi(frame).trunk)
    write_tensors(tmp_path / "phi.safetensors", network.state_dict(), {})
    other = Phi(BackboneConfig(depth=18, stages=3, stride=16)).eval()
    load_torchvision(other, tmp_path / "phi.safetensors")
    assert torch.equal(other.resnet.conv1.weight, phi.resnet.conv1.weight)


def test_a_torchvision_network_of_another_depth_is_refused() -> None:
    with pytest.raises(InputError, match="use resnet18"):
        load_phi_into_torchvision(Phi(BackboneConfig(depth=18)), torchvision.models.resnet50())


@pytest.mark.parametrize(
    "config",
    [BackboneConfig(18, 3, 8), BackboneConfig(50, 2, 4, True), BackboneConfig(18, 2, 4, hypercolumn=True)],
    ids=["basic blocks", "bottlenecks", "hypercolumn"],
)
def test_the_copy_for_inference_computes_the_same_without_batch_norm(config: BackboneConfig) -> None:
    torch.manual_seed(0)
    phi = Phi(config)
    with torch.no_grad():  # statistics and factors that differ from 0 and 1
        phi(torch.rand(4, 3, 64, 96))
        for module in phi.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.5, 0.5)
    phi.eval()
    fast = for_inference(phi)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in fast.modules())
    frames = torch.rand(2, 3, 48, 80)
    with torch.no_grad():
        for expected, got in zip(phi(frames), fast(frames), strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in phi.modules()), "phi itself is left alone"


@pytest.mark.parametrize("width", [16, 40, 176])
def test_shallow_maps_are_pooled_by_their_stride_in_frames_of_any_size(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    factors: list[int] = []
    pooled = backbone._pooled
    monkeypatch.setattr(backbone, "_pooled", lambda x, factor: (factors.append(factor), pooled(x, factor))[1])
    phi = Phi(BackboneConfig(depth=18, stages=3, stride=16, hypercolumn=True)).eval()
    with torch.no_grad():
        assert phi(torch.rand(1, 3, 32, width)).match.shape[-1] == -(-width // 16)
    assert factors == [4, 2]
