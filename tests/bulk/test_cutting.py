"""Where exports are cut: every customer in one part, no part too large, small ones at the end."""

from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdp.operations.bulk.cutting import SHARE, SMALLEST_ROWS, pieces, tapered
from cdp.operations.delivery import parts as packed


def parts(customers: int, part_rows: int, *, smallest: int = SMALLEST_ROWS, share: int = SHARE) -> list[int]:
    """How many customers each part has when so many are cut."""
    piece_rows, most = pieces(part_rows, smallest=smallest)
    edges = [UUID(int=place) for place in range(piece_rows, customers + 1, piece_rows)]
    cuts = [cut.int for cut in tapered(edges, most=most, share=share)]
    return [upper - lower for lower, upper in pairwise([0, *cuts, customers])]


@given(customers=st.integers(0, 3_000_000), part_rows=st.integers(2_000, 200_000))
def test_parts_hold_everybody_once_and_get_smaller(customers: int, part_rows: int) -> None:
    found = parts(customers, part_rows)
    assert sum(found) == customers
    assert max(found) <= part_rows
    assert all(later <= earlier for earlier, later in pairwise(found[:-1]))


@pytest.mark.parametrize("part_rows", [1, 3, 500, SMALLEST_ROWS])
def test_small_parts_stay_as_they_are(part_rows: int) -> None:
    assert parts(7 * part_rows, part_rows)[:7] == [part_rows] * 7


def test_two_workers_end_within_a_small_part_of_each_other() -> None:
    found, ends = parts(100_000, 20_000), [0, 0]
    for one in found:
        ends[ends.index(min(ends))] += one
    assert max(found) > 10_000
    assert len(found) < 25
    assert abs(ends[0] - ends[1]) <= 2 * SMALLEST_ROWS


@pytest.mark.parametrize(("customers", "ends"), [(49_000, [5_000, 4_000]), (199_000, [5_000, 4_000])])
def test_parts_of_a_package_are_few_and_get_smaller_too(customers: int, ends: list[int]) -> None:
    found = parts(customers, 20_000, smallest=packed.SMALLEST_ROWS, share=packed.SHARE)
    assert (sum(found), found[0], found[-2:]) == (customers, 20_000, ends)
    assert len(found) <= customers / 20_000 + 3
