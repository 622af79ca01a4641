"""Small networks, and a frame for them."""

from __future__ import annotations

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models import VisionTransformer

RESNET = "torchvision:resnet18:layer2"
NO_MEAN, NO_STD = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)


def resnet(state: dict[str, Tensor]) -> torchvision.models.ResNet:
    network = torchvision.models.resnet18()
    network.load_state_dict(state)
    return network.eval()


def frame(height: int = 64, width: int = 96) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1))


def tiny_vit() -> VisionTransformer:
    torch.manual_seed(0)
    vit = VisionTransformer(image_size=64, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32)
    nn.init.normal_(vit.encoder.pos_embedding)
    return vit.eval()


class FakeTransformer(nn.Module):
    """The way timm builds one: `patch_embed` with its `patch_size`, prefix tokens first, a last `norm`."""

    def __init__(self, registers: int = 4) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(3, 8, 8, 8)
        self.patch_embed.patch_size = (8, 8)
        self.prefix = nn.Parameter(torch.full((1, 1 + registers, 8), 100.0))
        self.norm = nn.Identity()
        self.head = nn.Linear(8, 10)
        self.pretrained_cfg = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch_embed(x).flatten(2).transpose(1, 2)
        return self.head(self.norm(torch.cat([self.prefix, tokens], 1))[:, 0])
