"""Propagated objects and object-level masks."""

from __future__ import annotations

import numpy as np

from downstream.instances.merging import merged


def numbers(*rows: str) -> np.ndarray:
    return np.array([[int(x) for x in row] for row in rows], np.uint8)


def test_an_object_keeps_what_lies_in_the_mask_and_its_region_goes_to_the_nearest() -> None:
    carried = numbers("1110000002", "1110000002", "0000000000", "0000030000")
    foreground = numbers("0111111110", "0111111110", "0000000000", "1100000011") > 0
    found = merged(carried, foreground)
    assert found.tolist() == numbers("0111111110", "0111111110", "0000000000", "0000000000").tolist()
    carried[0, 8] = 2  # now the region has two
    assert merged(carried, foreground)[0].tolist() == [0, 1, 1, 1, 1, 1, 2, 2, 2, 0]


def test_a_region_does_not_reach_into_another() -> None:
    # the pixel of 1 is nearer to the right half of the lower region, but belongs to the upper
    carried = numbers("0000001", "0000000", "2000000")
    foreground = numbers("0000001", "0000000", "1111111") > 0
    assert merged(carried, foreground).tolist() == numbers("0000001", "0000000", "2222222").tolist()


def test_a_frame_whose_mask_is_empty_keeps_its_objects() -> None:
    carried = numbers("0120")
    assert np.array_equal(merged(carried, carried > 2), carried)


def test_a_region_without_an_object_gets_no_id() -> None:
    assert not merged(numbers("1000"), numbers("0011") > 0).any()
