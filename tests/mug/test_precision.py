"""Whether a device has bfloat16 units, and what is said where it has none."""

from __future__ import annotations

import pytest
import torch

from mug import precision
from mug.precision import has_units, precision_in_words, slowdown

CPU = torch.device("cpu")


def processor(patch: pytest.MonkeyPatch, onednn: bool, avx512: bool = False, avx512_bf16: bool = False) -> None:
    """Makes torch report this processor."""
    patch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    patch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: onednn)
    patch.setattr(torch.cpu, "_is_avx512_supported", lambda: avx512)
    patch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16)


@pytest.mark.parametrize(
    ("name", "onednn", "avx512", "avx512_bf16", "expected"),
    [
        ("AVX2 alone", False, False, False, False),
        ("AVX-512 without bfloat16, which oneDNN emulates", True, True, False, False),
        ("AVX-512 with bfloat16", True, True, True, True),
        ("held to AVX2 by ONEDNN_MAX_CPU_ISA", False, True, True, False),
        ("Arm with bfloat16", True, False, False, True),
    ],
)
def test_units_of_a_processor(
    name: str, onednn: bool, avx512: bool, avx512_bf16: bool, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    processor(monkeypatch, onednn, avx512, avx512_bf16)
    assert has_units("cpu") is expected, name


def test_a_processor_without_onednn_has_no_units_that_torch_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    processor(monkeypatch, onednn=True, avx512=True, avx512_bf16=True)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not has_units("cpu")


@pytest.mark.parametrize("native", [True, False])
def test_a_gpu_that_emulates_bfloat16_has_no_units(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or native)
    assert has_units("cuda") is native
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert not has_units("cuda")


def test_other_devices_compute_in_float32() -> None:
    assert not has_units("mps")


def test_the_slowdown_is_the_ratio_of_the_best_times(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    calls = {torch.bfloat16: [90.0, 15.0, 14.0, 16.0], torch.float32: [80.0, 3.0, 2.0, 4.0]}

    def conv2d(x: torch.Tensor, weight: torch.Tensor, padding: int) -> None:
        nonlocal now
        assert x.dtype == weight.dtype
        now += calls[x.dtype].pop(0)

    monkeypatch.setattr(precision.time, "process_time", lambda: now)
    monkeypatch.setattr(precision.F, "conv2d", conv2d)
    assert slowdown(CPU) == pytest.approx(7)


def test_measuring_leaves_the_random_numbers_alone() -> None:
    before = torch.get_rng_state()
    assert slowdown(CPU) > 0
    assert torch.equal(torch.get_rng_state(), before)


def test_emulated_bfloat16_is_warned_about_with_the_factor(monkeypatch: pytest.MonkeyPatch) -> None:
    processor(monkeypatch, onednn=False)
    monkeypatch.setattr(precision, "slowdown", lambda device: 46.8)
    for name in ("bf16-mixed", "bf16-true"):
        line = precision_in_words(name, CPU)
        assert line.startswith(f"engine.precision {name}: this CPU has no bfloat16 units")
        assert "takes 47 times as long as in 32-true" in line
    assert precision_in_words("32-true", CPU) == "precision 32-true (this CPU has no bfloat16 units)"


def test_units_that_are_there_are_not_warned_about(monkeypatch: pytest.MonkeyPatch) -> None:
    processor(monkeypatch, onednn=True)
    assert precision_in_words("bf16-mixed", CPU) == "precision bf16-mixed (this CPU has bfloat16 units)"
    assert precision_in_words("32-true", CPU) == "precision 32-true (this CPU has bfloat16 units)"
