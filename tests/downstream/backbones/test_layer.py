"""Any layer of a CNN or transformer as features."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from downstream.backbones.by_name import named_network, open_backbone
from downstream.backbones.layer import LayerFeatures
from tests.downstream.backbones.networks import NO_MEAN, NO_STD, RESNET, frame, resnet, tiny_vit


def test_a_layer_of_a_cnn(resnet_file: Path, resnet_state: dict[str, Tensor]) -> None:
    network = resnet(resnet_state)
    x = torchvision.transforms.functional.normalize(frame(), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    x = network.maxpool(network.relu(network.bn1(network.conv1(x))))
    with torch.no_grad():
        expected = network.layer2(network.layer1(x))
    assert torch.allclose(open_backbone(RESNET, resnet_file).extract(frame()), expected, atol=1e-5)


def test_a_stride_is_reached_without_dilation(resnet_file: Path, resnet_state: dict[str, Tensor]) -> None:
    features = open_backbone("torchvision:resnet18", resnet_file, stride=8).extract(frame(60, 90))
    assert features.shape == (1, 256, 8, 12)  # layer3, whose stride is 16 by itself
    network = resnet(resnet_state)
    for module in network.layer3.modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
    x = torchvision.transforms.functional.normalize(frame(60, 90), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    x = network.maxpool(network.relu(network.bn1(network.conv1(x))))
    with torch.no_grad():
        expected = network.layer3(network.layer2(network.layer1(x)))
    assert torch.allclose(features, expected, atol=1e-5)


def test_a_stride_beyond_what_the_layer_has_is_left(resnet_file: Path) -> None:
    assert open_backbone("torchvision:resnet18:layer1", resnet_file, stride=8).extract(frame()).shape[2:] == (16, 24)


def test_nothing_behind_the_layer_is_kept_or_run() -> None:
    features = named_network(RESNET, None)
    assert not any(name.startswith(("layer3", "layer4", "fc")) for name in features.network.state_dict())
    assert {"layer3.0.conv1.weight", "fc.weight"} <= features.unused


def test_tokens_become_a_map() -> None:
    vit = tiny_vit()
    features = LayerFeatures("vit", tiny_vit(), "encoder.ln", NO_MEAN, NO_STD)(frame(64, 64))
    with torch.no_grad():
        tokens = vit.encoder(torch.cat([vit.class_token, vit._process_input(frame(64, 64))], 1))
    for y, x in [(0, 0), (0, 7), (5, 2)]:
        assert torch.allclose(features[0, :, y, x], tokens[0, 1 + 8 * y + x], atol=1e-5)


def test_a_block_of_a_transformer() -> None:
    features = LayerFeatures("vit", tiny_vit(), "encoder.layers.encoder_layer_0", NO_MEAN, NO_STD)
    assert features(frame(64, 64)).shape == (1, 16, 8, 8)
    assert not any("encoder_layer_1" in name for name in features.network.state_dict())


def test_frames_are_padded_to_whole_patches_by_their_edge() -> None:
    features = LayerFeatures("vit", tiny_vit(), "encoder.ln", NO_MEAN, NO_STD)
    padded = F.pad(frame(60, 91), (0, 5, 0, 4), mode="replicate")
    assert features(frame(60, 91)).shape == (1, 16, 8, 12)
    assert torch.equal(features(frame(60, 91)), features(padded))


def test_positions_of_another_size_are_interpolated() -> None:
    """With constant frames, and positions that depend on x alone, features depend on x alone, at any size."""
    vit = tiny_vit()
    with torch.no_grad():
        ramp = torch.linspace(-1, 1, 8).expand(8, 8).reshape(1, 64, 1)
        vit.encoder.pos_embedding[:, 1:] = ramp * torch.randn(16, generator=torch.Generator().manual_seed(0))
    features = LayerFeatures("vit", vit, "encoder.ln", NO_MEAN, NO_STD)(torch.full((1, 3, 80, 128), 0.5))
    assert features.shape[2:] == (10, 16)
    assert torch.allclose(features[:, :, 0], features[:, :, 9], atol=1e-4)
    assert not torch.allclose(features[:, :, :, 0], features[:, :, :, 15], atol=0.1)
