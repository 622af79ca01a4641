"""The chosen mistakes are of the code as it is; `python -m tests.reliability.mutations` makes them."""

from __future__ import annotations

import pytest

from tests.reliability.mutations import PARTS, ROOT, Mutation


@pytest.mark.parametrize("mutation", [mutation for _, chosen in PARTS.values() for mutation in chosen], ids=str)
def test_each_mistake_can_be_made_in_one_place(mutation: Mutation) -> None:
    assert (ROOT / mutation.file).read_text().count(mutation.before) == 1
    assert mutation.before != mutation.after


def test_the_tests_that_have_to_notice_are_there() -> None:
    assert all((ROOT / path).exists() for tests, _ in PARTS.values() for path in tests)
