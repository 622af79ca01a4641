"""`mug export`: networks as programs for other software, and weights for torchvision."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from downstream.systems.base import System, system_of
from downstream.systems.exporting import EXPORTED_SIZES, ExportOptions
from mug.checkpoint import packaged_weights, write_tensors
from mug.errors import InputError, RunError, logger
from mug.lazy import resolve
from mug.media.files import atomic_path, prepare_file
from mug.networks.hub import Pretrained
from mug.networks.program import Part, Run, difference, in_words, open_onnx, open_torch, write_onnx, write_torch
from mug.networks.residual import residual_layers

TOLERANCE = 1e-3
"""Largest difference between a program and its network; see `mug.networks.program.difference`."""


class Writer(NamedTuple):
    """How programs of a kind are written and read."""

    write: Callable[[Part, Path], None]
    open: Callable[[Path], Run]


WRITERS = {"onnx": Writer(write_onnx, open_onnx), "torch-export": Writer(write_torch, open_torch)}


def export(options: ExportOptions) -> None:
    """Writes a network as a program for other software, or its residual layers as weights for torchvision.

    Before its file appears, a program is compared with the network on random input of another size than it was traced
    at.

    Raises:
        InputError: the weights cannot be read, or have no such part or size, or the output cannot be written.
        RunError: the network cannot be exported, or the program differs from it.
    """
    weights = options.weights or packaged_weights()
    system = system_of(weights)
    network: Pretrained = system.weights_format.load(weights)[0]
    if options.to == "torchvision":
        prepare_file(options.out, options.overwrite)
        _write_residual_layers(network, weights, options.out)
        return
    part = _part(system, network, options, weights)
    prepare_file(options.out, options.overwrite)
    print(in_words(part))
    with atomic_path(options.out) as temporary:
        off = _write(WRITERS[options.to], part, temporary)
    print(f"{options.out}: differs from the network by {off:.1e} at most")


def _part(system: System, network: Pretrained, options: ExportOptions, weights: Path) -> Part:
    if system.exported is None:
        raise InputError(f"{weights}: its network is not one for programs; --to torchvision writes its residual layers")
    parts = resolve(system.exported)(network)
    name = options.part or next(iter(parts))
    if name not in parts:
        raise InputError(f"--part {name}: {weights} has none of this name; give {' or '.join(parts)}")
    sizes = {size: value for size in EXPORTED_SIZES if (value := getattr(options, size)) is not None}
    part: Part = parts[name].fixed(sizes)
    return part.noted({**network.metadata, "part": name, "program": in_words(part)})


def _write(writer: Writer, part: Part, path: Path) -> float:
    """Writes a program and returns its difference from the network."""
    try:
        writer.write(part, path)
    except RuntimeError as error:  # of the exporter, over many lines
        logger.debug("", exc_info=True)
        line = next(iter(str(error).splitlines()), type(error).__name__)
        raise RunError(f"{path.name}: the network cannot be exported ({line}); --verbose shows more") from error
    off = difference(part, writer.open(path), times=1)
    if not off <= TOLERANCE:
        raise RunError(f"{path.name}: the program differs from the network by {off:.1e}; it was not kept")
    return off


def _write_residual_layers(network: Pretrained, weights: Path, out: Path) -> None:
    found = residual_layers(network)
    if len(found) != 1:
        what = f"{len(found)} ResNets" if found else "no ResNet"
        raise InputError(f"{weights}: its network has {what}, --to torchvision takes one; give other weights")
    name, state, missing = found[0]
    if out.suffix == ".safetensors":
        write_tensors(out, state, dict(network.metadata))
    else:
        with atomic_path(out) as temporary:
            torch.save(state, temporary)
    print(f"{out}: for torchvision.models.{name}() by load_state_dict(..., strict=False)")
    print(f"{name} is left without weights in {', '.join(missing)}")
