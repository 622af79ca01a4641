"""What all systems have in common in training: a trunk with initial weights, frozen norms, and learning rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from downstream.options import FinetuneOptions
from downstream.training.annotated import Annotated
from downstream.training.flows import Flows
from downstream.training.options import DEFAULT_CLIP, Clip
from mug.checkpoint import load_weights
from mug.errors import InputError
from mug.networks.saved import Format, Network
from mug.options import TrunkConfig

Config = TypeVar("Config", bound=TrunkConfig)


class NetworkTraining(nn.Module, Generic[Network]):
    """A network in training; see `downstream.systems.base.Trainable`, whose `forward` subclasses add.

    Args:
        config: The architecture; with `options.start` it is that of the file instead.
        options: Initial weights and the learning rate of the trunk.
        rates: Learning rate factors of other parts, by their names in the network.

    Raises:
        InputError: the options or weights cannot be used.
    """

    format: ClassVar[Format[Any]]
    """Weights files of the system. Its network has a method `load_trunk(path)`, see `mug.networks.trunk.Trunk.load`."""
    trunks: ClassVar[Sequence[str]] = ("trunk",)
    """Names of the trunks in the network."""
    terms: Sequence[str] = ()
    clip: Clip = DEFAULT_CLIP
    stills: Sequence[Path] = ()

    def __init__(self, config: Any, options: FinetuneOptions, rates: Mapping[str, float] | None = None) -> None:
        super().__init__()
        if options.trunk_rate < 0:
            raise InputError(f"trunk_rate: {options.trunk_rate} is negative; give 0 or more")
        self.network: Network = self._begun(config, options)
        bodies = [self.network.get_submodule(name) for name in self.trunks]
        trunk_rate = options.trunk_rate
        if trunk_rate == 0 and options.scratch:
            trunk_rate = FinetuneOptions.trunk_rate
        if trunk_rate == 0:
            for body in bodies:
                body.requires_grad_(False)  # saves the memory for its gradient
        factors = dict.fromkeys(self.trunks, trunk_rate) | dict(rates or {})
        self.rates = {f"network.{name}." if name else "network.": rate for name, rate in factors.items()}
        freeze = options.freeze_norm and not options.scratch
        self._frozen = [m for body in bodies for m in body.modules() if isinstance(m, _BatchNorm)] if freeze else []
        for norm in self._frozen:
            norm.requires_grad_(False)

    def train(self, mode: bool = True) -> NetworkTraining[Network]:
        """Sets training mode, except for frozen batch norm."""
        super().train(mode)
        for norm in self._frozen:
            norm.eval()
        return self

    def idle(self) -> Tensor:
        """0, from all parameters: unused ones get a zero gradient, because other processes wait for their gradients."""
        return torch.stack([p.sum() for p in self.parameters() if p.requires_grad]).sum() * 0

    def prepare(self, sources: Sequence[Annotated], folder: Path) -> Flows | None:
        """Nothing."""
        return None

    def finish(self, sources: Sequence[Annotated]) -> tuple[nn.Module, dict[str, str]]:
        """The network as it is."""
        return self.network, {}

    def save(self, path: Path, network: nn.Module, metadata: Mapping[str, str]) -> None:
        """Writes the weights."""
        self.format.save(path, network, metadata)

    def _begun(self, config: Any, options: FinetuneOptions) -> Network:
        """The network with what a training begins with: an earlier stage, the trunk's weights, or nothing."""
        if options.start is not None:
            return cast(Network, self.format.load(options.start)[0].train())
        if options.scratch and options.trunk.kind == "imagenet":
            raise InputError(
                "--scratch: the trunk imagenet is there for its weights; leave it out, or use another trunk"
            )
        network: Any = self.format.build(config)
        if not options.scratch:
            network.load_trunk(options.weights)
        return cast(Network, network)


def complete(trunk: Config, options: FinetuneOptions) -> Config:
    """The architecture of a trunk; if the options do not say which phi, that of the initial weights.

    Raises:
        InputError: the weights cannot be used.
    """
    if trunk.kind != "phi" or trunk.backbone is not None or options.scratch or options.start is not None:
        return trunk
    return replace(trunk, backbone=load_weights(options.weights)[0].config.backbone)
