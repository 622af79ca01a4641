"""Programs of any size of input, in both formats, against networks of a few operations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mug.errors import InputError
from mug.networks.program import (
    NOTES,
    Part,
    Size,
    difference,
    in_words,
    open_torch,
    require_onnx,
    write_torch,
)

ROWS, COLUMNS, COUNT = Size("rows", 3), Size("columns", 3), Size("count", needed=4)


class Sums(nn.Module):
    """Two inputs, two outputs, and a loop over one size."""

    def forward(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        return left @ right, sum(x.sum() for x in right.unbind(1)) + left.mean()


PART = Part(Sums(), {"left": (ROWS, COLUMNS), "right": (COLUMNS, COUNT)}, ("product", "total"), {"who": "sums"})


def test_sizes_become_numbers_that_are_given_or_needed() -> None:
    assert in_words(PART.fixed({})) == "left (rows, columns), right (columns, 4) -> product, total"
    assert in_words(PART.fixed({"count": 2, "rows": 5})) == "left (5, columns), right (columns, 2) -> product, total"
    with pytest.raises(InputError, match="--width: is no size of this part, but rows, columns, count"):
        PART.fixed({"width": 3})
    with pytest.raises(InputError, match="--rows 2: is too small; give 3 or more"):
        PART.fixed({"rows": 2})


def test_examples_have_sizes_that_differ() -> None:
    left, right = PART.fixed({}).example(2)
    assert left.shape == (6, 7) and right.shape == (7, 4)


def test_own_notes_are_kept() -> None:
    assert PART.noted({"who": "others", "when": "now"}).notes == {"who": "sums", "when": "now"}


def test_a_program_takes_any_open_size(tmp_path: Path) -> None:
    part, path = PART.fixed({}), tmp_path / "sums.pt2"
    write_torch(part, path)
    run = open_torch(path)
    for times in (1, 3):
        assert difference(part, run, times) < 1e-6
    assert difference(part, lambda *inputs: [x + 0.01 for x in run(*inputs)], 1) > 1e-4
    files = {NOTES: ""}
    torch.export.load(path, extra_files=files)
    assert json.loads(files[NOTES]) == {"who": "sums"}
    assert [name.name for name in tmp_path.iterdir()] == [path.name]


def test_values_that_are_not_numbers_differ() -> None:
    assert not difference(PART.fixed({}), lambda left, right: [left @ right * torch.nan, left.mean()], 1) <= 1


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mug.networks.program.find_spec", lambda name: None if name == "onnxscript" else name)
    with pytest.raises(InputError, match=r"missing package onnxscript; pip install 'mug-vos\[onnx\]'$"):
        require_onnx()
