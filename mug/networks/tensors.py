"""Reading of tensors: all weights files, mug's own and third-party, are read here, and none of them can run code."""

from __future__ import annotations

import argparse
import pickle
import struct
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from torch import Tensor

from mug.errors import InputError

WRAPPERS = (
    "teacher",
    "state_dict",
    "model_state_dict",
    "model",
    "network",
    "net",
    "backbone",
    "encoder",
    "params",
    "weights",
)
"""Keys under which checkpoints store the network; of teacher and student, the teacher is the published one."""

PREFIXES = (
    "module.",
    "backbone.",
    "encoder_q.",
    "base_encoder.",
    "encoder.",
    "model.",
    "net.",
    "network.",
    "teacher.",
    "student.",
)
"""Prefixes that trainers add to a network's own names."""

COMPILED = "_orig_mod."
"""Prefix that `torch.compile` adds to the names of a network or of any part of it."""


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Reads tensors and metadata of a safetensors file; raises an `InputError` that says what is wrong with others."""
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118


def read_metadata(path: Path) -> dict[str, str]:
    """Reads only the metadata of a safetensors file; raises `InputError` as `read_safetensors` does."""
    with _opened(path) as file:
        return dict(file.metadata() or {})


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if not path.is_file():
        raise InputError(f"{path}: no such file; give the weights of a training run")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            yield file
    except (safetensors.SafetensorError, OSError) as error:
        with path.open("rb") as file:
            start = file.read(9)
        # a safetensors header follows its length, whose bytes may look like a pickle by chance
        if start[8:] != b"{" and (start[:2] == b"PK" or start[:1] == b"\x80"):
            remedy = "is a pickle, which could run code; give a .safetensors file that mug wrote"
        else:
            remedy = "is damaged or no safetensors file; copy or train it again"
        raise InputError(f"{path}: {remedy}") from error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Reads the state dict in a file of safetensors or `torch.save` without running code.

    It may be the whole file, or one of the entries `WRAPPERS` of a training checkpoint.

    Raises:
        InputError: the file is missing or damaged, could run code, or contains no state dict.
    """
    path = Path(path)
    if path.suffix.lower() == ".safetensors":
        return read_safetensors(path)[0]
    if not path.is_file():
        raise InputError(f"{path}: no such file; give the weights of the network")
    refuse_inflated(path)
    try:
        with torch.serialization.safe_globals(_plain_data()):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path}: is damaged or holds more than tensors and plain data; save its state dict alone"
        ) from error
    except Exception as error:  # a damaged pickle is a program with faults, which may end in any way
        raise InputError(f"{path}: is damaged or no file of torch.save; fetch it again") from error
    return _unwrapped(path, content)


def refuse_inflated(path: Path) -> None:
    """Raises `InputError` for an archive that would unpack to more than its own size, which `torch.save` never writes.

    What it holds would fill the memory before anybody could look at it.
    """
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            inside = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error) as error:
        raise InputError(f"{path}: is damaged; fetch it again") from error
    if inside > path.stat().st_size:
        raise InputError(f"{path}: would unpack to {inside / 2**20:.0f} MiB; give a file as torch.save writes it")


def without_prefix(tensors: Mapping[str, Tensor], expected: Collection[str]) -> dict[str, Tensor]:
    """Removes prefixes until names match the network's; tensors without the prefix (heads, queues) are dropped.

    Args:
        tensors: A state dict.
        expected: The network's names. If no known prefix leads to them, any prefix that all of them share is removed.
    """
    found = {key.replace(COMPILED, ""): x for key, x in tensors.items()}
    while not any(key in expected for key in found):
        prefix = next((p for p in PREFIXES if any(key.startswith(p) for key in found)), None)
        if prefix is None:
            break
        found = {key.removeprefix(prefix): x for key, x in found.items() if key.startswith(prefix)}
    if expected and not any(key in expected for key in found):
        needed = [name for name in expected if not name.endswith("num_batches_tracked")]
        ends = {key.removesuffix(needed[0]) for key in found if key.endswith(f".{needed[0]}")}
        ends = {prefix for prefix in ends if all(prefix + name in found for name in needed)}
        if len(ends) == 1:  # with two networks the choice would be ambiguous
            prefix = ends.pop()
            found = {key.removeprefix(prefix): x for key, x in found.items() if key.startswith(prefix)}
    return found


def _plain_data() -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """Types that checkpoints contain beside tensors and that cannot run code: options, NumPy numbers and arrays."""
    kinds = [getattr(np.dtypes, name) for name in dir(np.dtypes) if name.endswith("DType") and name != "ObjectDType"]
    makers: list[Any] = [value.__reduce__()[0] for value in (np.zeros(0), np.float64(0))]
    # NumPy 1 and NumPy 2 pickle them under different names
    named = [(make, f"numpy.{core}.multiarray.{make.__name__}") for make in makers for core in ("core", "_core")]
    return [argparse.Namespace, np.dtype, np.ndarray, *kinds, *named]


def _unwrapped(path: Path, content: Any) -> dict[str, Tensor]:
    while isinstance(content, Mapping) and not (content and all(isinstance(x, Tensor) for x in content.values())):
        inner = [content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)]
        tensors = {str(key): x for key, x in content.items() if isinstance(x, Tensor)}
        if not inner and any("." in key for key in tensors):  # among the state of a training run
            return tensors
        if not inner:
            keys = ", ".join(str(key) for key in list(content)[:6]) or "nothing"
            raise InputError(f"{path}: holds no state dict (but {keys}); save its state dict alone")
        content = inner[0]
    if not isinstance(content, Mapping):
        raise InputError(f"{path}: holds a {type(content).__name__}, no state dict; save its state dict alone")
    return {str(key): x for key, x in content.items()}
