"""The wheel works where the clone is not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mug import __version__

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("mug", "agnn_head", "pretrain", "downstream")


def run(*command: str | Path, cwd: Path) -> str:
    """What a command prints, started as from a fresh shell."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([str(word) for word in command], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the sources, since building leaves its own files beside them."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in (*PACKAGES, "configs"):
        shutil.copytree(ROOT / name, folder / "sources" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "sources")
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir")
    run(sys.executable, "-m", "pip", "wheel", *options, folder, folder / "sources", cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs of an environment that holds the wheel; its dependencies are those of this interpreter."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, symlinks=True)
    own = Path(sysconfig.get_path("purelib", "venv", {"base": home}))
    # files .pth of a folder that is named by one are not read: an editable installation of this clone stays out
    (own / "dependencies.pth").write_text("\n".join({sysconfig.get_path(at) for at in ("purelib", "platlib")}))
    options = ("--no-deps", "--no-index", "--ignore-installed", "--quiet")
    run(sys.executable, "-m", "pip", "--python", home / "bin/python", "install", *options, wheel, cwd=home)
    return home / "bin"


def test_the_wheel_holds_the_packages_and_what_they_read(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    here = [path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file()]
    expected = {str(path) for path in here if "__pycache__" not in path.parts}
    assert expected == {name for name in names if not name.startswith("mug_vos-")}
    assert {f"{package}/py.typed" for package in PACKAGES} <= expected
    configs = {str(path.relative_to(ROOT)) for path in (ROOT / "configs").rglob("*.yaml")}
    assert configs == {name.partition("/share/mug-vos/")[2] for name in names if "/share/mug-vos/" in name}
    assert wheel.name.startswith(f"mug_vos-{__version__}-py3-none-any")


def test_mug_segment_runs_from_an_empty_folder(
    installed: Path, moving_squares: Callable[..., Path], tmp_path: Path
) -> None:
    clip = moving_squares(videos=1, frames=3) / "JPEGImages" / "480p" / "square0"
    empty = tmp_path / "empty"
    empty.mkdir()
    assert run(installed / "python", "-c", "import mug; print(mug.__file__)", cwd=empty).startswith(
        str(installed.parent)
    )
    assert run(installed / "mug", "--version", cwd=empty) == f"mug {__version__}\n"
    run(installed / "mug", "segment", clip, "--out", "masks", cwd=empty)
    masks = sorted((empty / "masks").rglob("*.png"))
    assert [path.name for path in masks] == ["00000.png", "00001.png", "00002.png"]
    assert {np.asarray(Image.open(path)).shape for path in masks} == {(48, 64)}


def test_configurations_are_found_without_a_clone(installed: Path, tmp_path: Path) -> None:
    words = ("pretrain", "--config", "configs/pretrain/mug_resnet18_cpu.yaml", "--videos", "nowhere", "--out", "run")
    done = subprocess.run([installed / "mug", *words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert "nowhere" in done.stderr and "configs" not in done.stderr
