"""Declared shapes are few, cover every size, and are checked."""

import dataclasses

import pytest

from vigorl_jax.sampling.shapes import Shapes, shares_prompts

SHAPES = Shapes(slots=32, cache=100, prompt_lengths=(32, 64), extend_lengths=(16,), image_tokens=64)


def test_rows_are_cut_into_few_sizes_padded_by_a_third_at_most():
    assert SHAPES.row_counts == (1, 4, 16, 32)
    assert list(SHAPES.batches(3)) == [(3, 4)]
    assert list(SHAPES.batches(5)) == [(4, 4), (1, 1)]
    assert list(SHAPES.batches(8)) == [(4, 4), (4, 4)]
    assert list(SHAPES.batches(70)) == [(32, 32), (32, 32), (4, 4), (1, 1), (1, 1)]
    for rows in range(1, 100):
        batches = list(SHAPES.batches(rows))
        assert sum(taken for taken, _ in batches) == rows
        assert all(taken <= size <= 4 / 3 * taken and size in SHAPES.row_counts for taken, size in batches)


def test_a_call_takes_no_more_rows_than_it_may():
    assert list(SHAPES.batches(21, most=15)) == [(4, 4)] * 5 + [(1, 1)]
    assert list(SHAPES.batches(2, most=0)) == [(1, 1), (1, 1)]


def test_small_calls_are_padded_where_programs_are_dear():
    shapes = dataclasses.replace(SHAPES, least_rows=16)
    assert shapes.row_counts == (16, 32)
    assert list(shapes.batches(3)) == [(3, 16)]
    assert list(shapes.batches(20, most=5)) == [(16, 16), (4, 16)]
    assert list(shapes.batches(36)) == [(32, 32), (4, 16)]
    assert dataclasses.replace(SHAPES, least_rows=64).row_counts == (32,)


def test_the_cache_is_cut_where_reads_end():
    assert SHAPES.blocks == (25, 25, 50)
    assert dataclasses.replace(SHAPES, least_read=256).blocks == (100,)


def test_a_call_reads_the_smallest_part_of_the_cache_that_holds_its_rows():
    assert SHAPES.reads == (25, 50, 100)
    assert [SHAPES.read(n) for n in (0, 25, 26, 100)] == [25, 25, 50, 100]


def test_a_short_cache_is_read_whole():
    assert dataclasses.replace(SHAPES, least_read=40).reads == (40, 50, 100)
    assert dataclasses.replace(SHAPES, least_read=256).reads == (100,)


def test_all_shapes_are_listed():
    assert "prefill: rows (1, 4, 16, 32) x tokens (32, 64)" in SHAPES.lines()
    assert "extend: rows (1, 4, 16, 32) x tokens (16,) x cache read (25, 50, 100)" in SHAPES.lines()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"slots": 0}, "slots 0; wanted at least 1"),
        ({"least_rows": 0}, "least_rows 0; wanted at least 1"),
        ({"prompt_lengths": (64, 32)}, r"prompt_lengths \(64, 32\); wanted ascending"),
        ({"prompt_lengths": (128,)}, "the longest prompt, 128, does not fit the cache of 100"),
    ],
)
def test_shapes_that_contradict_themselves_are_refused(changes, message):
    sizes = {"slots": 4, "cache": 100, "prompt_lengths": (32,), "extend_lengths": (), "image_tokens": 8}
    with pytest.raises(ValueError, match=message):
        Shapes(**(sizes | changes))


def test_long_prompts_of_large_groups_are_shared():
    assert shares_prompts(1000, 8)
    assert not shares_prompts(1000, 1)
    assert not shares_prompts(20, 8)
