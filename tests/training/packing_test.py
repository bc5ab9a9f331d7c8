"""Rows hold what fits, nothing is lost, and little room is wasted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vigorl_jax.training.packing import deal, packed_rows, padded_rows


def test_the_longest_go_first_into_the_first_row_that_takes_them():
    assert packed_rows([3, 7, 5, 2], 10) == [(1, 0), (2, 3)]
    assert padded_rows(3) == [(0,), (1,), (2,)]


@given(st.lists(st.integers(1, 40), max_size=60), st.integers(40, 90))
def test_every_episode_is_in_one_row_and_no_row_overflows(lengths, length):
    rows = packed_rows(lengths, length)
    assert sorted(i for row in rows for i in row) == list(range(len(lengths)))
    sums = [sum(lengths[i] for i in row) for row in rows]
    assert all(0 < total <= length for total in sums)
    # No two rows could be one.
    assert all(a + b > length for i, a in enumerate(sums) for b in sums[i + 1 :])


def test_lengths_that_complement_each_other_leave_no_room():
    lengths = [30, 50, 25, 75, 70, 50] * 9
    assert len(packed_rows(lengths, 100)) == sum(lengths) / 100


def test_an_episode_longer_than_a_row_is_refused():
    with pytest.raises(ValueError, match="episode 1 has 11 tokens and a row 10"):
        packed_rows([3, 11], 10)


def test_rows_are_dealt_one_after_the_other_and_filled_up():
    rows = padded_rows(5)
    assert deal(rows, 2) == [[(0,), (2,), (4,)], [(1,), (3,), ()]]
    assert [len(batch) for batch in deal(rows, 2, multiple=4)] == [4, 4]
    with pytest.raises(ValueError, match="5 rows do not fill 6 micro-batches; ask for at most 5"):
        deal(rows, 6)
