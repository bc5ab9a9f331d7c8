"""The cache in blocks holds what one array would hold, wherever rows end and new tokens fall."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vigorl_jax.qwen25vl.text import LayerCache
from vigorl_jax.sampling.caches import Block, RowsCache, write_tails

ROWS, HEADS, CHANNELS = 5, 2, 3
SIZES = (4, 4, 9)


def _numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(1, 1000, shape).astype(np.float32)


def _cache(values: np.ndarray) -> RowsCache:
    """Values [B, K, S, C], and keys that are their negatives, in blocks."""
    parts = np.split(values, np.cumsum(SIZES)[:-1], axis=2)
    return RowsCache(tuple(Block(jnp.asarray(-part.swapaxes(2, 3)), jnp.asarray(part)) for part in parts))


def _values(cache: RowsCache) -> np.ndarray:
    keys = np.concatenate([block.keys for block in cache.blocks], axis=3).swapaxes(2, 3)
    values = np.concatenate([block.values for block in cache.blocks], axis=2)
    np.testing.assert_array_equal(keys, -values)
    return values


def _new(length: int) -> tuple[np.ndarray, Block]:
    new = _numbers(ROWS, HEADS, length, CHANNELS) + 1000
    return new, Block(jnp.asarray(-new.swapaxes(2, 3)), jnp.asarray(new))


@pytest.mark.parametrize("length", [1, 3, 6, 11])
@pytest.mark.parametrize("starts", [(0, 1, 2, 3, 4), (3, 5, 7, 8, 9), (6, 10, 13, 16, 17), (17,) * 5])
def test_new_tokens_lie_behind_each_rows_own(length, starts):
    before, (new, block) = _numbers(ROWS, HEADS, sum(SIZES), CHANNELS), _new(length)
    (cache,) = jax.jit(write_tails)([_cache(before)], jnp.int32(starts), [block])
    after = _values(cache)
    for row, start in enumerate(starts):
        written = new[row, :, : sum(SIZES) - start]
        np.testing.assert_array_equal(after[row, :, :start], before[row, :, :start])
        np.testing.assert_array_equal(after[row, :, start : start + length], written)


def test_rows_are_written_where_they_are_and_padding_nowhere():
    before, (new, block) = _numbers(ROWS, HEADS, sum(SIZES), CHANNELS), _new(6)
    at, starts = (3, 0, ROWS, 4, ROWS), (2, 7, 0, 15, 3)
    after = _values(jax.jit(RowsCache.write_rows)(_cache(before), jnp.int32(at), jnp.int32(starts), block))
    expected = before.copy()
    for i in (0, 1, 3):
        expected[at[i], :, starts[i] : starts[i] + 6] = new[i, :, : sum(SIZES) - starts[i]]
    np.testing.assert_array_equal(after, expected)


def test_prompts_are_copied_to_the_first_slots():
    before, prompts = _numbers(ROWS, HEADS, sum(SIZES), CHANNELS), _numbers(2, HEADS, 6, CHANNELS) + 1000
    at, sources = jnp.int32([4, ROWS, 1]), jnp.int32([1, 0, 0])
    after = _values(
        _cache(before).place(at, LayerCache(jnp.asarray(-prompts), jnp.asarray(prompts)), sources)
    )
    expected = before.copy()
    expected[4, :, :6], expected[1, :, :6] = prompts[1], prompts[0]
    np.testing.assert_array_equal(after, expected)


def test_the_first_tokens_are_whole_blocks():
    cache = _cache(_numbers(ROWS, HEADS, sum(SIZES), CHANNELS))
    assert [offset for offset, _ in cache.first(4)] == [0]
    assert [offset for offset, _ in cache.first(5)] == [0, 4]
    assert [(offset, block.tokens) for offset, block in cache.first(17)] == [(0, 4), (4, 4), (8, 9)]
