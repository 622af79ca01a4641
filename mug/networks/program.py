"""Programs: networks for other software, traced by `torch.export` and written as such or as ONNX.

A program takes tensors of any size where its network does, and gives the same tensors. Attention within it is a single
fused operation instead of chunks (`mug.affinity.attention`): the edge between all pairs of positions is stored.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mug.errors import InputError
from mug.media.files import atomic_path

Run = Callable[..., Sequence[Tensor]]
"""A program that was opened: its inputs, in order -> its outputs, in order."""


NOTES = "mug.json"
"""Name of the notes in a program of `torch.export`."""

_TRACED = 2
"""`times` of the example that is traced: sizes of 1 would be taken as constants."""


class Size(NamedTuple):
    """A dimension of a program's inputs."""

    name: str
    least: int = 1
    """The smallest size."""
    needed: int | None = None
    """The usual size, if programs cannot leave it open."""


BATCH = Size("batch")
HEIGHT, WIDTH = Size("height", 32), Size("width", 32)
"""Those of a frame, in pixels."""

Shape = tuple[Size | int, ...]


@dataclass(frozen=True)
class Part:
    """A part of a network that can be a program.

    Attributes:
        network: Maps tensors, one per input, to a tensor or a tuple of them, one per output.
        inputs: Shape of each input by its name.
        outputs: Names of the outputs.
        notes: What has to be known to use it, as metadata of the program.
        make: Maps shapes of the inputs to an example of them; by default uniform in [0, 1].
    """

    network: nn.Module
    inputs: Mapping[str, Shape]
    outputs: Sequence[str]
    notes: Mapping[str, str]
    make: Callable[..., tuple[Tensor, ...]] = lambda *shapes: tuple(torch.rand(shape) for shape in shapes)

    @property
    def sizes(self) -> list[Size]:
        """The dimensions that have a name."""
        return list(dict.fromkeys(size for shape in self.inputs.values() for size in shape if isinstance(size, Size)))

    def fixed(self, sizes: Mapping[str, int]) -> Part:
        """The part with fixed sizes of some dimensions, and of those that programs cannot leave open.

        Raises:
            InputError: there is no such dimension, or its size is out of range.
        """
        known = {size.name: size for size in self.sizes}
        for name, value in sizes.items():
            if name not in known:
                raise InputError(f"--{name}: is no size of this part, but {', '.join(known)}; leave it out")
            if value < known[name].least:
                raise InputError(f"--{name} {value}: is too small; give {known[name].least} or more")
        values = {size.name: size.needed for size in self.sizes if size.needed is not None} | dict(sizes)

        def chosen(shape: Shape) -> Shape:
            return tuple(values.get(size.name, size) if isinstance(size, Size) else size for size in shape)

        return replace(self, inputs={name: chosen(shape) for name, shape in self.inputs.items()})

    def noted(self, notes: Mapping[str, str]) -> Part:
        """The part with further notes, which do not replace its own."""
        return replace(self, notes={**notes, **self.notes})

    def example(self, times: int) -> tuple[Tensor, ...]:
        """Random inputs whose open sizes are about `times` the smallest, and not the same."""
        taken = {size: times * size.least + index for index, size in enumerate(self.sizes)}
        shapes = ([size if isinstance(size, int) else taken[size] for size in shape] for shape in self.inputs.values())
        return self.make(*shapes)

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        """The outputs of the network itself."""
        with torch.no_grad():
            return list(_Plain(self.network)(*inputs))


def in_words(part: Part) -> str:
    """Inputs with their sizes, and outputs.

    >>> in_words(Part(nn.Identity(), {"frames": (BATCH, 3, HEIGHT, 64)}, ["same"], {}))
    'frames (batch, 3, height, 64) -> same'
    """
    shapes = ("({})".format(", ".join(getattr(size, "name", str(size)) for size in s)) for s in part.inputs.values())
    inputs = ", ".join(f"{name} {shape}" for name, shape in zip(part.inputs, shapes, strict=True))
    return f"{inputs} -> {', '.join(part.outputs)}"


def difference(part: Part, run: Run, times: int) -> float:
    """Largest difference between a program and its network on random inputs, as a share of the largest value above 1.

    Args:
        part: The network.
        run: The program.
        times: See `Part.example`.
    """
    inputs = part.example(times)
    pairs = list(zip(part(*inputs), run(*inputs), strict=True))
    return float(torch.stack([(a - b).abs().max() / a.abs().max().clamp_min(1) for a, b in pairs]).max())


def write_torch(part: Part, path: Path) -> None:
    """Writes a program of `torch.export` (.pt2); `torch.export.load` reads it."""
    with torch.no_grad(), _silent():
        program = torch.export.export(_Plain(part.network), part.example(_TRACED), dynamic_shapes=_open_sizes(part))
    with atomic_path(path) as temporary:
        torch.export.save(program, temporary, extra_files={NOTES: json.dumps(dict(part.notes))})


def open_torch(path: Path) -> Run:
    """Opens a program of `write_torch`."""
    module = torch.export.load(path).module()

    def run(*inputs: Tensor) -> list[Tensor]:
        with torch.no_grad():
            return list(module(*inputs))

    return run


def write_onnx(part: Part, path: Path) -> None:
    """Writes an ONNX file.

    Raises:
        InputError: the extra `onnx` is not installed.
    """
    require_onnx()
    with torch.no_grad(), _silent():
        program: Any = torch.onnx.export(
            _Plain(part.network),
            part.example(_TRACED),
            dynamic_shapes=_open_sizes(part),
            input_names=list(part.inputs),
            output_names=list(part.outputs),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    program.model.metadata_props.update(part.notes)
    with atomic_path(path) as temporary:
        program.save(temporary)


def open_onnx(path: Path) -> Run:
    """Opens an ONNX file by onnxruntime, on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]

    def run(*inputs: Tensor) -> list[Tensor]:
        given = {name: x.numpy() for name, x in zip(names, inputs, strict=True)}
        return [torch.from_numpy(x) for x in session.run(None, given)]

    return run


def require_onnx() -> None:
    """Raises `InputError` if a package that ONNX needs is missing."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        if find_spec(name) is None:
            raise InputError(f"--to onnx: needs the missing package {name}; pip install 'mug-vos[onnx]'")


@contextmanager
def _silent() -> Iterator[None]:
    """Holds back the exporter's warnings, which are about its own parts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _open_sizes(part: Part) -> tuple[tuple[dict[int, Any], ...]]:
    """The open dimensions of each input of `_Plain`."""
    dims = {size: torch.export.Dim(size.name, min=size.least) for size in part.sizes}
    return (tuple({i: dims[size] for i, size in enumerate(shape) if size in dims} for shape in part.inputs.values()),)


class _Plain(nn.Module):
    """A network whose outputs are a plain tuple: programs know no types of ours."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        outputs = self.network(*inputs)
        return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)
