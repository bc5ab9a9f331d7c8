"""Attention against a form written out query by query."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vigorl_jax.qwen25vl import attention as attention_lib
from vigorl_jax.qwen25vl.attention import attention, causal_attention, merge_attention, partial_attention


def _inputs(length=24, keys=24, heads=4, kv_heads=2, dtype=jnp.float32, batch=2):
    rng = np.random.default_rng(0)

    def draw(*shape):
        return jnp.asarray(rng.normal(size=shape), dtype)

    return draw(batch, length, heads, 8), draw(batch, kv_heads, keys, 8), draw(batch, kv_heads, keys, 8)


def _by_hand(q, k, v, visible):
    """One query and one head at a time, in float64."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    out = np.zeros_like(q)
    group = q.shape[2] // k.shape[1]
    for b, i, h in np.ndindex(q.shape[:3]):
        scores = k[b, h // group] @ q[b, i, h] / np.sqrt(q.shape[-1])
        weights = np.where(visible[b, i], np.exp(scores - scores.max()), 0)
        out[b, i, h] = weights @ v[b, h // group] / weights.sum()
    return out


def test_attention_sees_slots_up_to_its_own_within_its_segment():
    q, k, v = _inputs()
    slots = jnp.broadcast_to(jnp.arange(24), (2, 24))
    segments = jnp.asarray(np.repeat([[0, 1, 2], [0, 0, 1]], 8, axis=1))
    out = attention(q, k, v, query_slots=slots, query_segments=segments, key_segments=segments)
    visible = np.tril(np.ones((24, 24), bool)) & (segments[:, :, None] == segments[:, None])
    np.testing.assert_allclose(out, _by_hand(q, k, v, np.asarray(visible)), atol=1e-6)


def test_attention_without_masks_sees_everything():
    q, k, v = _inputs(length=3)
    np.testing.assert_allclose(attention(q, k, v), _by_hand(q, k, v, np.ones((2, 3, 24), bool)), atol=1e-6)


@pytest.mark.parametrize("length", [5, 64, 130, 259])
def test_causal_blocks_equal_the_whole_triangle(length):
    q, k, v = _inputs(length=length, keys=length)
    slots = jnp.broadcast_to(jnp.arange(length), (2, length))
    segments = (slots // 50).astype(jnp.int32)
    for kwargs in ({}, {"query_segments": segments, "key_segments": segments}):
        whole = attention(q, k, v, query_slots=slots, **kwargs)
        blocks = causal_attention(q, k, v, kwargs.get("query_segments"))
        np.testing.assert_allclose(blocks, whole, atol=1e-6)


def test_queries_behind_a_cache_see_the_keys_before_them():
    q, k, v = _inputs(length=2)
    slots = jnp.array([[5, 6], [20, 21]])
    visible = np.arange(24) <= np.asarray(slots)[..., None]
    out = attention(q, k, v, query_slots=slots)
    np.testing.assert_allclose(out, _by_hand(q, k, v, visible), atol=1e-6)


@pytest.mark.parametrize("limit", [2 * 4 * 24 * 7, 2 * 4 * 24])
def test_blocks_of_queries_give_the_same_values_and_gradients(monkeypatch, limit):
    q, k, v = _inputs()
    slots = jnp.broadcast_to(jnp.arange(24), (2, 24))
    segments = jnp.asarray(np.repeat([[0, 1, 2], [0, 0, 1]], 8, axis=1))

    def loss(q, k, v):
        out = attention(q, k, v, query_slots=slots, query_segments=segments, key_segments=segments)
        return jnp.sum(jnp.sin(out))

    whole = jax.value_and_grad(loss, argnums=(0, 1, 2))(q, k, v)
    monkeypatch.setattr(attention_lib, "max_scores", lambda: limit)
    blocked = jax.value_and_grad(loss, argnums=(0, 1, 2))(q, k, v)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), whole, blocked)


def test_attention_weights_are_computed_in_float32_for_bfloat16_inputs():
    q, k, v = _inputs(dtype=jnp.bfloat16)
    exact = _by_hand(q, k, v, np.ones((2, 24, 24), bool))
    out = attention(q, k, v)
    assert out.dtype == jnp.bfloat16
    # Rounding the weights and the result costs two roundings of 2^-9; bfloat16 scores would cost tenfold.
    assert np.abs(np.asarray(out, np.float64) - exact).max() < 3 * 2**-9 * np.abs(exact).max()


def test_shapes_that_disagree_are_refused_by_name():
    q, k, v = _inputs()
    with pytest.raises(Exception, match="v"):
        attention(q, k, v[:, :, :5])


def test_attention_over_parts_of_the_keys_merges_to_attention_over_all():
    q, k, v = _inputs(length=3)
    slots = jnp.array([[2, 9, 20], [20, 21, 22]])
    parts = [
        partial_attention(q, k[:, :, a:b], v[:, :, a:b], query_slots=slots - a) for a, b in ((0, 7), (7, 24))
    ]  # the first query of the first row sees nothing of the second part
    whole = attention(q, k, v, query_slots=slots)
    np.testing.assert_allclose(merge_attention(parts, q.dtype), whole, atol=1e-6)
