"""Options of `mug export`; importing them loads no library."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mug.errors import InputError

EXPORTED_SIZES = ("batch", "frames", "height", "width")
"""Options of `mug export` that fix a size."""


@dataclass
class ExportOptions:
    """Options of `mug export`."""

    to: Literal["onnx", "torch-export", "torchvision"]
    """`onnx`: for onnxruntime, TensorRT, OpenVINO and others (.onnx; extra `onnx`). `torch-export`: a program that
    `torch.export.load` reads (.pt2). `torchvision`: the residual layers alone, a state dict for
    `torchvision.models.resnet*` (.pth or .safetensors)."""
    out: Path
    """The file to write."""
    weights: Path | None = None
    """Weights of MuG or of a system (.safetensors); by default the packaged weights."""
    part: str | None = None
    """What becomes the program. Of MuG: `phi`, the default, or `propagation`, a step of O-VOS by matching. Of `agnn`,
    `cosnet` and `hcpn`: the network, under that name."""
    batch: int | None = None
    """Size of the batch; by default any."""
    frames: int | None = None
    """Number of frames: of a graph of AGNN, which has to be fixed, by default 5; of the memory of `propagation`, by
    default any."""
    height: int | None = None
    """Height of frames in pixels, for `propagation` in cells; by default any."""
    width: int | None = None
    """Width of frames in pixels, for `propagation` in cells; by default any."""
    overwrite: bool = False
    """Replace an existing file."""

    def unused(self) -> Mapping[str, str]:
        """See `mug.command.options.parse`."""
        reason = "is of programs; --to torchvision writes weights alone"
        return dict.fromkeys(("part", *EXPORTED_SIZES), reason) if self.to == "torchvision" else {}

    def require(self) -> None:
        """Checks the name of the output, and the packages that it needs."""
        suffixes = {"onnx": (".onnx",), "torch-export": (".pt2",), "torchvision": (".pth", ".safetensors")}[self.to]
        if self.out.suffix not in suffixes:
            raise InputError(f"--out {self.out}: --to {self.to} writes {' or '.join(suffixes)}; name the file so")
        if self.to == "onnx":
            from mug.networks.program import require_onnx

            require_onnx()
