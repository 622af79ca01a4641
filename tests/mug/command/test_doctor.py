"""The doctor tells a sound installation from the ways in which it breaks."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mug import precision
from mug.cli import main
from mug.command import doctor
from mug.command.doctor import Finding


def test_sound_installation(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PACKAGES", {"numpy": "numpy"})
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    for subject in ("python", "torch", "torchvision", "opencv", "CUDA", "precision", "weights"):
        assert f"  {subject} " in out
    assert "broken" not in out


def test_something_broken_is_status_one(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def findings() -> Iterator[Finding]:
        yield Finding("ok", "python", "3.11.7")
        yield Finding("broken", "torch", "is missing")

    monkeypatch.setattr(doctor, "examine", findings)
    with pytest.raises(SystemExit) as ended:
        main(["doctor"])
    assert ended.value.code == 1
    assert "broken  torch   is missing" in capsys.readouterr().out


def test_torchvision_of_another_build(tmp_path: Path) -> None:
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    root = Path(__file__).resolve().parents[3]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{root}"}
    done = subprocess.run([sys.executable, "-m", "mug", "doctor"], capture_output=True, text=True, env=environment)
    assert done.returncode == 1
    (line,) = [line for line in done.stdout.splitlines() if "torchvision::nms does not exist" in line]
    assert line.startswith("broken  torchvision")
    assert "pip install --force-reinstall torch torchvision" in line
    assert "Traceback" not in done.stderr


def test_operator_missing_after_import(monkeypatch: pytest.MonkeyPatch) -> None:
    def nms(*_: object) -> None:
        raise NotImplementedError("Could not run 'torchvision::nms'\nand many more lines")

    fake = SimpleNamespace(ops=SimpleNamespace(nms=nms), __version__="0")
    monkeypatch.setitem(sys.modules, "torchvision", fake)  # type: ignore[arg-type]
    finding = doctor.check_torchvision()
    assert finding.state == "broken"
    assert "many more lines" not in finding.message


@pytest.mark.parametrize(
    ("check", "module", "remedy"),
    [
        (doctor.check_torch, "torch", "pip install torch torchvision"),
        (doctor.check_torchvision, "torchvision", "torch torchvision"),
        (doctor.check_opencv, "cv2", "opencv-contrib-python-headless"),
    ],
)
def test_missing_package(monkeypatch: pytest.MonkeyPatch, check, module: str, remedy: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # type: ignore[arg-type]
    finding = check()
    assert finding.state == "broken"
    assert remedy in finding.message


def test_two_opencv_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["numpy", "opencv-python", "opencv-contrib-python-headless"]
    monkeypatch.setattr(
        doctor.metadata, "distributions", lambda: [SimpleNamespace(metadata={"Name": n}) for n in names]
    )
    finding = doctor.check_opencv()
    assert finding.state == "broken"
    assert "pip uninstall -y opencv-contrib-python-headless opencv-python;" in finding.message


def test_opencv_without_ximgproc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", SimpleNamespace(__version__="4"))  # type: ignore[arg-type]
    monkeypatch.setattr(doctor, "opencv_packages", lambda: ["opencv-python"])
    finding = doctor.check_opencv()
    assert finding.state == "broken"
    assert "ximgproc" in finding.message
    assert "pip uninstall -y opencv-python;" in finding.message


def test_missing_requirements_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PACKAGES", {"numpy": "numpy", "module_nobody_has": "some-package"})
    (finding,) = doctor.check_packages()
    assert (finding.state, finding.subject) == ("broken", "module_nobody_has")
    assert "some-package" in finding.message


def test_old_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PYTHON", (99, 0))
    assert doctor.check_python().state == "broken"


def test_absent_weights_are_a_note(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "WEIGHTS", tmp_path)
    assert doctor.check_weights().state == "note"
    (tmp_path / "phi.safetensors").touch()
    assert doctor.check_weights() == Finding("ok", "weights", "phi.safetensors")


@pytest.mark.parametrize(
    ("gpu", "there", "expected"),
    [
        (False, True, ("ok", "auto is bf16-mixed: the CPU has bfloat16 units; a convolution takes 0.5 times ")),
        (
            False,
            False,
            ("note", "auto is 32-true: the CPU has no bfloat16 units; a convolution in it takes 0.5 times "),
        ),
        (True, True, ("ok", "auto is bf16-mixed: the GPU has bfloat16 units; a convolution takes 0.5 times ")),
    ],
)
def test_precision_that_auto_stands_for(
    gpu: bool, there: bool, expected: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(precision, "has_units", lambda device_type: there and (device_type == "cuda") is gpu)
    monkeypatch.setattr(precision, "slowdown", lambda device: 0.5 if (device.type == "cuda") is gpu else 9)
    finding = doctor.check_precision()
    assert finding == Finding(expected[0], "precision", f"{expected[1]}as long as in float32")


def test_precision_cannot_be_told_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # type: ignore[arg-type]
    assert doctor.check_precision().state == "note"


def test_doctor_needs_none_of_the_packages_it_looks_for() -> None:
    code = (
        "import sys\n"
        "for name in ('jsonargparse', 'yaml', 'torch', 'torchvision', 'cv2', 'numpy'): sys.modules[name] = None\n"
        "from mug.cli import main\n"
        "main(['doctor'])"
    )
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "broken  torch " in done.stdout


def test_the_weights_of_the_package_are_found() -> None:
    """Where they really lie: `WEIGHTS` once moved with its module."""
    assert doctor.check_weights().state == "ok"
