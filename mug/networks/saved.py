"""Weights files of supervised methods: a network's tensors, with its architecture and configuration as metadata."""

from __future__ import annotations

import json
import typing
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import mug
from mug.checkpoint import check_same, write_tensors
from mug.errors import InputError
from mug.media.plain import parse_json
from mug.networks.hub import Pretrained
from mug.networks.tensors import read_safetensors

Network = TypeVar("Network", bound=Pretrained)


@dataclass(frozen=True)
class Format(Generic[Network]):
    """The weights files of one method.

    Attributes:
        name: The method, as `architecture` in the metadata.
        config: Dataclass of the architecture; an instance is the network's attribute `config`.
        build: Maps that configuration to a network, whose attribute `stored_as` leads here.
    """

    name: str
    config: type
    build: Callable[[Any], Network]

    def save(self, path: Path, network: Network, metadata: Mapping[str, str]) -> None:
        """Writes a network: kernels in half precision, vectors in full.

        Args:
            path: A `.safetensors` file, written atomically.
            network: On any device.
            metadata: Notes about the weights. `architecture`, `config` (JSON) and `version` are added.
        """
        config: Any = network.config
        note = {"architecture": self.name, "config": json.dumps(asdict(config)), "version": mug.__version__}
        tensors = {name: x.half() if x.ndim > 1 else x for name, x in network.state_dict().items()}
        write_tensors(path, tensors, dict(metadata) | note)

    def load(self, path: Path) -> tuple[Network, dict[str, str]]:
        """Builds the network from a file of `save`.

        Returns:
            The network on the CPU, in single precision and evaluation mode, and the file's metadata.

        Raises:
            InputError: the file is missing, truncated or not safetensors, comes from another program or architecture,
                or contains values that are not finite.
        """
        path = Path(path)
        tensors, metadata = read_safetensors(path)
        if metadata.get("architecture") != self.name:
            raise InputError(f"{path}: holds no {self.name}; give the weights of `mug finetune {self.name}`")
        try:
            config = rebuilt(self.config, parse_json(metadata["config"]))
        except (TypeError, KeyError, ValueError) as error:
            version = metadata.get("version", "unknown")
            raise InputError(
                f"{path}: its configuration is not readable here; use mug {version} that wrote it"
            ) from error
        network = self.build(config)
        check_same(path, tensors, network.state_dict())
        network.load_state_dict(tensors)
        network.metadata = metadata
        return network.eval(), metadata


def rebuilt(kind: type, values: Mapping[str, Any]) -> Any:
    """The dataclass that `dataclasses.asdict` made plain and JSON stored: nested ones and tuples are restored.

    Raises:
        TypeError: the values do not fit the dataclass.
    """
    if not isinstance(values, Mapping):
        raise TypeError(f"{kind.__name__}: {values!r} is no mapping")
    hints = typing.get_type_hints(kind)
    if strange := sorted(values.keys() - {field.name for field in fields(kind)}):
        raise TypeError(f"{kind.__name__}: has no {strange[0]}")
    return kind(**{name: _restored(hints[name], value) for name, value in values.items()})


def _restored(hint: Any, value: Any) -> Any:
    kinds = [k for k in (hint, *typing.get_args(hint)) if isinstance(k, type) and is_dataclass(k)]
    if value is None:
        return None
    if kinds:
        return rebuilt(kinds[0], value)
    return tuple(value) if typing.get_origin(hint) is tuple else value
