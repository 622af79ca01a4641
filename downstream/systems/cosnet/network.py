"""COSNet: a Siamese network whose frames read each other by co-attention (Lu et al., CVPR 2019)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from agnn_head.readout import Readout
from downstream.systems.cosnet import COSNetConfig
from downstream.systems.cosnet.affinity import FORMS
from downstream.systems.cosnet.attention import CoAttention
from mug.errors import InputError
from mug.networks.hub import Pretrained
from mug.networks.pyramid import Embedding
from mug.networks.saved import Format


class COSNet(Pretrained):
    """Embedding, co-attention and segmentation head; both frames of a pair share all weights.

    Raises:
        InputError: an invalid number of channels or layers, an unknown form of attention, or an unknown trunk.
    """

    stored_as = "downstream.systems.cosnet.network:FORMAT"

    def __init__(self, config: COSNetConfig) -> None:
        super().__init__()
        for name in ("channels", "layers"):
            if getattr(config, name) < 1:
                raise InputError(f"{name}: {getattr(config, name)} is too few; use 1 or more")
        if config.attention not in (*FORMS, "none"):
            raise InputError(f"attention: {config.attention!r} is unknown; use {', '.join(FORMS)} or none")
        self.config = config
        self.embedding = Embedding(config.trunk, config.channels)
        alone = config.attention == "none"
        self.co_attention = None if alone else CoAttention(config.channels, config.attention)
        self.head = Readout(config.channels, maps=1 if alone else 2, layers=config.layers)
        self.intermediate = nn.Conv2d(config.channels, 1, 1)

    def load_trunk(self, path: Path | None) -> None:
        """Loads initial weights of the embedding; see `mug.networks.pyramid.Embedding.load`."""
        self.embedding.load(path)

    @property
    def output(self) -> nn.Conv2d:
        """The last layer, whose output is the logits of a frame with references."""
        return self.head.output

    def forward(self, frames_bnchw: Tensor) -> Tensor:
        """The N = 2 frames of each of B pairs, RGB (B, N, 3, H, W) in [0, 1] -> logits (B, N, 1, h, w).

        Without co-attention N is free.
        """
        return self.compare(self.embed(frames_bnchw.flatten(0, 1)).unflatten(0, frames_bnchw.shape[:2]))

    def embed(self, frames_bchw: Tensor) -> Tensor:
        """RGB frames (B, 3, H, W) in [0, 1] -> V (B, C, h, w), channels last in memory."""
        return self.embedding(frames_bchw).contiguous(memory_format=torch.channels_last)

    def auxiliary(self, v_bchw: Tensor) -> Tensor:
        """Logits (B, 1, h, w) of still images, by the additional convolution on the embedding (Sec. 4.1)."""
        return self.intermediate(v_bchw)

    def compare(self, v_bnchw: Tensor) -> Tensor:
        """Logits (B, N, 1, h, w) of the frames of pairs from their embeddings (B, N, C, h, w); see `forward`.

        Raises:
            ValueError: with co-attention, a number of frames other than 2.
        """
        if self.co_attention is None:
            return self.head(v_bnchw.flatten(0, 1)).unflatten(0, v_bnchw.shape[:2])
        if v_bnchw.shape[1] != 2:
            raise ValueError(f"{v_bnchw.shape[1]} frames are no pair")
        a_bpc, b_bpc = (_positions(x) for x in v_bnchw.unbind(1))
        z_bnpc = torch.stack(self.co_attention(a_bpc, b_bpc), 1)
        z_bchw = _map(z_bnpc.flatten(0, 1), v_bnchw)
        return self.head(z_bchw, v_bnchw.flatten(0, 1)).unflatten(0, v_bnchw.shape[:2])

    def probability(self, v_chw: Tensor, references_nchw: Tensor, fuse_predictions: bool = False) -> Tensor:
        """Foreground probability of a frame in the light of its references.

        Args:
            v_chw: V_a, embedding of the frame (C, h, w).
            references_nchw: V_bn, embeddings of N >= 1 references (N, C, h', w'), ignored without co-attention.
            fuse_predictions: Average the maps of the references (Table 1, "prediction segmentation fusion") instead of
                the gated attention summaries Z_an (Eq. 13).

        Returns:
            (h, w) in [0, 1].
        """
        v_1chw = v_chw[None]
        if self.co_attention is None:
            return self.head(v_1chw)[0, 0].sigmoid()
        z_npc = self.co_attention.summaries(_positions(v_1chw)[0], _positions(references_nchw))
        if not fuse_predictions:
            z_npc = z_npc.mean(0, keepdim=True)
        logits_n1hw = self.head(_map(z_npc, v_1chw), v_1chw.expand(len(z_npc), -1, -1, -1))
        return logits_n1hw.sigmoid().mean(0)[0]


def _positions(v_bchw: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, P, C)."""
    return v_bchw.flatten(2).transpose(1, 2).contiguous()


def _map(z_bpc: Tensor, like: Tensor) -> Tensor:
    """(B, P, C) -> (B, C, h, w) on the grid of `like`."""
    return z_bpc.transpose(1, 2).unflatten(2, like.shape[-2:])


FORMAT = Format("cosnet", COSNetConfig, COSNet)
