"""The weights that AGNN's authors released (`carrierlxk/AGNN`): their trunk and pyramid, as the begin of a training.

The released graph is not the paper's, nor ours: its encoder ends in a position attention and a 3x3 convolution, its
edges are one-directional, its messages are gated by position, concatenated and convolved, and its head has one 3x3
convolution. Weights of these parts mean nothing elsewhere, so they are left out.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from agnn_head.checkpoint import FORMAT
from agnn_head.model import AGNN
from agnn_head.options import AGNNConfig
from downstream.systems.base import Released
from downstream.systems.deeplab import RELEASED, Translation, translate_embedding


def released(tensors: Mapping[str, Tensor]) -> Released:
    """Our network with the released embedding; its graph and readout begin at random, for `mug finetune --start`.

    Args:
        tensors: State dict of `GNNNet`.

    Raises:
        InputError: a tensor is missing or has another shape.
    """
    translation = Translation(tensors)
    translate_embedding(translation)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = AGNN(AGNNConfig(embedding=RELEASED, channels=256, iterations=5))
    translation.load(network, "embedding.")
    training = "embedding of the authors; the graph and the readout are random: train them with `mug finetune --start`"
    return Released(FORMAT, network.eval(), translation.names, training)
