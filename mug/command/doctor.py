"""Checks of the installation, with remedies."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple

PYTHON = (3, 11)
PACKAGES = {
    **{
        name: name
        for name in ("numpy", "scipy", "kornia", "jinja2", "lightning", "rich", "safetensors", "tensorboard", "av")
    },
    **dict.fromkeys(("jsonargparse", "docstring_parser"), "jsonargparse[signatures]"),
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "faiss": "faiss-cpu",
    "yaml": "pyyaml",
}
"""Module name to pip requirement; torch, torchvision and cv2 are checked more closely."""
WEIGHTS = Path(__file__).parents[1] / "weights"


class Finding(NamedTuple):
    """One line of the report."""

    state: Literal["ok", "note", "broken"]
    subject: str
    message: str


def doctor() -> None:
    """Reports problems of the installation; exits with status 1 if something does not work."""
    findings = list(examine())
    width = max(len(finding.subject) for finding in findings)
    for state, subject, message in findings:
        print(f"{state:<6}  {subject:<{width}}  {message}")
    if any(finding.state == "broken" for finding in findings):
        raise SystemExit(1)


def examine() -> Iterator[Finding]:
    """Checks everything `mug` depends on."""
    yield check_python()
    yield check_torch()
    yield check_torchvision()
    yield check_opencv()
    yield from check_packages()
    yield check_crf()
    yield check_cuda()
    yield check_precision()
    yield check_weights()


def check_python() -> Finding:
    """The interpreter is new enough."""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < PYTHON:
        return Finding("broken", "python", f"{version}; mug needs {'.'.join(map(str, PYTHON))} or later")
    return Finding("ok", "python", version)


def check_torch() -> Finding:
    """The import of torch works."""
    try:
        torch = importlib.import_module("torch")
    except (ImportError, OSError, RuntimeError) as error:
        return Finding("broken", "torch", f"{_line(error)}; pip install torch torchvision")
    return Finding("ok", "torch", str(torch.__version__))


def check_torchvision() -> Finding:
    """The build of torchvision matches torch: its compiled operators can be called."""
    remedy = "install both at once: pip install --force-reinstall torch torchvision"
    try:
        torch = importlib.import_module("torch")
        torchvision = importlib.import_module("torchvision")
        torchvision.ops.nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([1.0]), 0.5)
    except ImportError as error:
        return Finding("broken", "torchvision", f"{_line(error)}; {remedy}")
    except (AttributeError, NotImplementedError, OSError, RuntimeError) as error:
        return Finding("broken", "torchvision", f"is not of the same build as torch ({_line(error)}); {remedy}")
    return Finding("ok", "torchvision", str(torchvision.__version__))


def check_opencv() -> Finding:
    """Exactly one OpenCV is installed, and it has the contributed modules."""
    installed = opencv_packages()
    wanted = "opencv-contrib-python-headless"
    if len(installed) > 1:
        names = " ".join(installed)
        return Finding(
            "broken", "opencv", f"several packages share one folder; pip uninstall -y {names}; pip install {wanted}"
        )
    try:
        cv2 = importlib.import_module("cv2")
    except (ImportError, OSError) as error:
        return Finding("broken", "opencv", f"{_line(error)}; pip install {wanted}")
    if not hasattr(cv2, "ximgproc"):
        names = " ".join(installed) or "opencv-python"
        return Finding("broken", "opencv", f"has no ximgproc; pip uninstall -y {names}; pip install {wanted}")
    return Finding("ok", "opencv", str(cv2.__version__))


def opencv_packages() -> list[str]:
    """Names of the installed distributions that provide `cv2`."""
    names = {(distribution.metadata["Name"] or "").lower() for distribution in metadata.distributions()}
    return sorted(name for name in names if name.startswith("opencv-"))


def check_packages() -> Iterator[Finding]:
    """The other packages are installed."""
    missing = [module for module in PACKAGES if find_spec(module) is None]
    for module in missing:
        yield Finding("broken", module, f"is missing; pip install '{PACKAGES[module]}'")
    if not missing:
        yield Finding("ok", "packages", f"all {len(PACKAGES)} are there")


def check_crf() -> Finding:
    """The dense CRF is installed; most users do not need it."""
    if find_spec("pydensecrf") is None:
        return Finding("note", "dense CRF", "is not installed; only --refine crf needs it: pip install 'mug-vos[crf]'")
    return Finding("ok", "dense CRF", "is there")


def check_cuda() -> Finding:
    """A GPU is available; none is required."""
    try:
        torch = importlib.import_module("torch")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        names = ", ".join(torch.cuda.get_device_name(index) for index in range(count))
    except (ImportError, OSError, RuntimeError) as error:
        return Finding("note", "CUDA", f"cannot be asked for: {_line(error)}")
    return Finding("ok", "CUDA", names) if names else Finding("note", "CUDA", "no GPU in sight; all runs on the CPU")


def check_precision() -> Finding:
    """The precision that `engine.precision: auto` selects here, and the cost of bfloat16 relative to float32."""
    try:
        torch = importlib.import_module("torch")
        from mug.precision import has_units, slowdown

        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        units, factor = has_units(device.type), slowdown(device)
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        return Finding("note", "precision", f"cannot be told: {_line(error)}")
    name = "GPU" if device.type == "cuda" else "CPU"
    cost = f"takes {factor:.1f} times as long as in float32"
    if units:
        return Finding("ok", "precision", f"auto is bf16-mixed: the {name} has bfloat16 units; a convolution {cost}")
    return Finding(
        "note", "precision", f"auto is 32-true: the {name} has no bfloat16 units; a convolution in it {cost}"
    )


def check_weights() -> Finding:
    """The default weights came with the package."""
    files = sorted(WEIGHTS.glob("*.safetensors"))
    if not files:
        return Finding("note", "weights", "none came with this installation; give --weights FILE.safetensors")
    return Finding("ok", "weights", ", ".join(file.name for file in files))


def _line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
