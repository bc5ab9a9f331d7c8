"""Attention: the one place where scores, masks and softmax are computed, and where their form is chosen."""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from vigorl_jax.array_typing import Array, Float, Int, Queries, Tokens, typed

# Scores of one block of queries: a bound on memory (256 MiB in float32), on CPUs one that keeps them in the cache,
# which is twice as fast from 1,024 tokens on (measured over 2^18 to 2^26).
MAX_SCORES, CPU_MAX_SCORES = 1 << 26, 1 << 21
# A causal pass is cut into this many blocks of queries, each of which meets only the keys up to its own end: 4 blocks
# compute 10/16 of the square, 8 compute 9/16 for twice the code to compile, which pays on long rows.
CAUSAL_BLOCKS, LONG_CAUSAL_BLOCKS = 4, 8
MIN_CAUSAL_BLOCK = 64
LONG_ROW = 2048


@typed
def causal_attention(
    q: Queries, k: Float[Array, "B K L C"], v: Float[Array, "B K L C"], segments: Tokens | None = None
) -> Queries:
    """`attention` of each token to itself and the tokens before it, within its segment when segments are given."""
    batch, length = q.shape[:2]
    blocks = []
    for start, end in causal_blocks(length):
        blocks.append(
            attention(
                q[:, start:end],
                k[:, :, :end],
                v[:, :, :end],
                query_slots=jnp.broadcast_to(jnp.arange(start, end), (batch, end - start)),
                query_segments=None if segments is None else segments[:, start:end],
                key_segments=None if segments is None else segments[:, :end],
            )
        )
    return jnp.concatenate(blocks, axis=1)


def causal_blocks(length: int) -> list[tuple[int, int]]:
    """First query and end of each block of a causal pass; a block meets the keys before its end."""
    blocks = CAUSAL_BLOCKS if length < LONG_ROW else LONG_CAUSAL_BLOCKS
    step = max(MIN_CAUSAL_BLOCK, math.ceil(length / blocks))
    return [(start, min(start + step, length)) for start in range(0, length, step)]


@typed
def attention(
    q: Queries,
    k: Float[Array, "B K S C"],
    v: Float[Array, "B K S C"],
    *,
    query_slots: Int[Array, "B L"] | None = None,
    query_segments: Int[Array, "B L"] | None = None,
    key_segments: Int[Array, "B S"] | None = None,
) -> Queries:
    """softmax(q k' / sqrt(C)) v with grouped key-value heads, scores and softmax in float32.

    A query sees the keys at slots up to and including its own in `query_slots` (all, when None) whose segment
    equals its own (any, when None). Every query must see a key. Long inputs are computed in blocks of queries,
    recomputed in the backward pass, so that memory grows with S and not with L * S.
    """
    return _in_blocks(_weighted, q, k, v, query_slots, query_segments, key_segments)


class PartialAttention(NamedTuple):
    """Attention over some of a query's keys, to be merged with that over the others.

    sums: values weighted by exp(score - peak)  # [B, L, H, C]
    peaks: the largest score  # [B, L, H]
    masses: sum of exp(score - peak)  # [B, L, H]
    """

    sums: Float[Array, "B L H C"]
    peaks: Float[Array, "B L H"]
    masses: Float[Array, "B L H"]


@typed
def partial_attention(
    q: Queries,
    k: Float[Array, "B K S C"],
    v: Float[Array, "B K S C"],
    *,
    query_slots: Int[Array, "B L"] | None = None,
    query_segments: Int[Array, "B L"] | None = None,
    key_segments: Int[Array, "B S"] | None = None,
) -> PartialAttention:
    """`attention` before its division: a query that sees none of these keys gets no weight when merged."""
    return _in_blocks(_partial, q, k, v, query_slots, query_segments, key_segments)


@typed
def merge_attention(parts: Sequence[PartialAttention], dtype: jnp.dtype) -> Queries:
    """Attention over the keys of all parts: each part counts by exp(its peak - the common peak)."""
    peak = functools.reduce(jnp.maximum, [part.peaks for part in parts])
    scales = [jnp.exp(part.peaks - peak) for part in parts]
    mass = sum(scale * part.masses for scale, part in zip(scales, parts, strict=True))
    sums = sum(scale[..., None] * part.sums for scale, part in zip(scales, parts, strict=True))
    return (sums / mass[..., None]).astype(dtype)


def _in_blocks(form, q, k, v, query_slots, query_segments, key_segments):
    """Applies a form of attention to all queries at once, or to blocks of them where scores would be too many."""
    batch, length, heads, _ = q.shape
    num_keys = k.shape[2]

    def block(q: Array, query_slots: Array | None, query_segments: Array | None):
        return form(q, k, v, _visible(query_slots, query_segments, key_segments, num_keys))

    block_length = _block_length(length, batch * heads * num_keys)
    if block_length == length:
        return block(q, query_slots, query_segments)
    blocks = jax.tree.map(lambda x: _split(x, block_length), (q, query_slots, query_segments))
    out = jax.lax.map(lambda args: jax.checkpoint(block)(*args), blocks)  # [blocks, B, block, ...]
    return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1).reshape(batch, -1, *x.shape[3:])[:, :length], out)


def _weighted(q: Array, k: Array, v: Array, visible: Array | None) -> Array:
    # The softmax's division comes last, on C numbers of a query instead of S.
    part = _partial(q, k, v, visible)
    return (part.sums / part.masses[..., None]).astype(v.dtype)


def _partial(q: Array, k: Array, v: Array, visible: Array | None) -> PartialAttention:
    scores = _scores(q, k, visible)
    # Peaks cancel in the quotient: nothing is to be learned through them.
    peaks = jax.lax.stop_gradient(jnp.max(scores, axis=-1, keepdims=True))
    weights = jnp.exp(scores - peaks)
    return PartialAttention(
        _sum_values(weights.astype(v.dtype), v),
        _by_query(peaks)[..., 0],
        _by_query(jnp.sum(weights, axis=-1, keepdims=True))[..., 0],
    )


def _scores(q: Array, k: Array, visible: Array | None) -> Array:
    """Scaled scores in float32, the smallest number where nothing is to be seen  # [B, K, G, L, S]"""
    batch, length, heads, head_dim = q.shape
    kv_heads, num_keys = k.shape[1:3]
    # Plain batched products, (batch, head) first: an einsum over five axes is four times slower on CPUs.
    q = q.reshape(batch, length, kv_heads, heads // kv_heads, head_dim).transpose(0, 2, 3, 1, 4)
    scores = jnp.matmul(
        q.reshape(batch, kv_heads, -1, head_dim), k.swapaxes(2, 3), preferred_element_type=jnp.float32
    )
    scores = scores.reshape(*q.shape[:4], num_keys) * head_dim**-0.5
    if visible is None:
        return scores
    return jnp.where(visible[:, None, None], scores, jnp.finfo(jnp.float32).min)


def _sum_values(weights: Array, v: Array) -> Array:
    """Weights [B, K, G, L, S] applied to values [B, K, S, C], summed in float32  # [B, L, H, C]"""
    batch, kv_heads, group, length, num_keys = weights.shape
    weights = weights.reshape(batch, kv_heads, -1, num_keys)
    out = jnp.matmul(weights, v, preferred_element_type=jnp.float32)
    return _by_query(out.reshape(batch, kv_heads, group, length, -1))


def _by_query(x: Array) -> Array:
    """[B, K, G, L, x] -> [B, L, H, x]"""
    batch, _, _, length, last = x.shape
    return x.transpose(0, 3, 1, 2, 4).reshape(batch, length, -1, last)


def max_scores() -> int:
    """How many scores one block of queries may have on the default backend."""
    return CPU_MAX_SCORES if jax.default_backend() == "cpu" else MAX_SCORES


def _visible(query_slots, query_segments, key_segments, num_keys: int) -> Array | None:
    visible = None
    if query_slots is not None:
        visible = jnp.arange(num_keys) <= query_slots[..., None]
    if query_segments is not None:
        same = query_segments[..., None] == key_segments[:, None]
        visible = same if visible is None else visible & same
    return visible


def _block_length(length: int, scores_per_query: int) -> int:
    blocks = math.ceil(length * scores_per_query / max_scores())
    return math.ceil(length / blocks)


def _split(x: Array, block_length: int) -> Array:
    """[B, L, ...] -> [blocks, B, block, ...]; a last short block repeats the last query."""
    x = jnp.pad(x, [(0, 0), (0, -x.shape[1] % block_length)] + [(0, 0)] * (x.ndim - 2), mode="edge")
    return jnp.moveaxis(x.reshape(x.shape[0], -1, block_length, *x.shape[2:]), 1, 0)
