"""What callers give the propagator: masks in every form, and what is no frame or mask."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from downstream.one_shot.propagator import Propagator
from mug.errors import InputError
from tests.downstream.one_shot.test_propagator import CELL, GRID, MEMORY, blank_frame, random_extractor


def square_masks() -> dict[str, np.ndarray]:
    """The same square in the forms in which masks come."""
    shown = np.zeros((GRID[0] * CELL, GRID[1] * CELL), bool)
    shown[8:24, 16:40] = True
    soft = shown * np.uint8(255)
    soft[8, 16:40] = 100  # an edge row that is less than half covered
    return {"bool": shown, "0/255": shown * np.uint8(255), "int": shown.astype(int), "soft edge": soft}


@pytest.mark.parametrize("form", square_masks())
def test_a_mask_is_taken_in_every_form_that_a_file_may_have(form: str) -> None:
    found = []
    for mask in (square_masks()["bool"].astype(np.uint8), square_masks()[form]):
        propagator = Propagator(random_extractor(2)[0], MEMORY)
        found.append((propagator.step(blank_frame(), mask), propagator.step(blank_frame())))
    if form == "soft edge":
        assert not found[1][0][8].any()
        found[0][0][8] = 0
    np.testing.assert_array_equal(found[0][0], found[1][0])
    assert set(np.unique(found[1][1])) <= {0, 1}


FRAME, MASK = blank_frame(), square_masks()["bool"].astype(np.uint8)
REFUSED: dict[str, tuple[object, object, str]] = {
    "a float frame": (FRAME / 255, MASK, r"the frame is float64 of shape \(40, 56, 3\): give RGB as uint8"),
    "a grey frame": (FRAME[..., 0], MASK, "the frame is uint8"),
    "a frame with alpha": (np.zeros((40, 56, 4), np.uint8), MASK, "the frame is uint8"),
    "channels first": (FRAME.transpose(2, 0, 1), MASK, "the frame is uint8"),
    "a tensor": (torch.zeros(40, 56, 3), MASK, "the frame is torch.float32"),
    "a list": ([[0]], MASK, "the frame is list"),
    "a float mask": (FRAME, MASK * 0.5, "the mask holds float64 values"),
    "a mask with channels": (FRAME, MASK[..., None], r"the mask is \(40, 56, 1\)"),
    "a mask turned": (FRAME, MASK.T, "the mask is 40x56 pixels, its frame 56x40"),
    "ids too high": (FRAME, MASK * np.int64(300), "the mask holds"),
    "a soft map": (FRAME, np.arange(40 * 56, dtype=np.uint16).reshape(40, 56).astype(np.uint8), "soft map"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_frame_or_mask_is_refused_in_one_line(what: str) -> None:
    frame, mask, message = REFUSED[what]
    propagator = Propagator(random_extractor(2)[0], MEMORY)
    with pytest.raises(InputError, match=message) as error:
        propagator.step(frame, mask)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


def test_a_frame_of_another_size_is_refused() -> None:
    propagator = Propagator(random_extractor(2)[0], MEMORY)
    propagator.step(FRAME, MASK)
    with pytest.raises(InputError, match="the frame is 56x32 pixels, the first was 56x40"):
        propagator.step(FRAME[:32])
