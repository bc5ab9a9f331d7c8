"""The memories that a forward pass reads and fills: capturing a prompt, extending rows, decoding in step.

Rows are decoded together but are not equally long. Writing each row's new key behind its own tokens would cost a
scatter a step and layer; instead all rows write to one column of a short *tail*, in place, and the tail is moved
behind each row's own tokens once for many steps.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from vigorl_jax.array_typing import Array, CachedHeads, Float, Int, Queries, RowLengths
from vigorl_jax.qwen25vl.attention import (
    PartialAttention,
    causal_attention,
    merge_attention,
    partial_attention,
)
from vigorl_jax.qwen25vl.text import LayerCache

Slots = Int[Array, "B L"]


class CaptureMemory(NamedTuple):
    """Before anything: causal attention among the new tokens, whose keys and values are handed out."""

    def attend(self, q: Queries, k: CachedHeads, v: CachedHeads, slots: Slots) -> tuple[Queries, LayerCache]:
        """See `LayerMemory`; the memory after holds the new tokens alone."""
        return causal_attention(q, k, v), LayerCache(k, v)


class SharedPrefix(NamedTuple):
    """One layer's keys and values of prompts that several rows share.

    cache: of the prompts  # [N, K, P, C]
    lengths: tokens of each prompt  # [N]
    members: the rows that read each prompt, as many as fit; rows of no one are clamped and never read  # [N, G]
    places: where each row stands in `members`, flattened; negative if its cache has its prompt itself  # [B]
    """

    cache: LayerCache
    lengths: RowLengths
    members: Int[Array, "N G"]
    places: Int[Array, "B"]

    def attend(self, q: Queries) -> PartialAttention:
        """Attention of one query a row to its own prompt: each prompt is read once for all its rows."""
        by_prompt = _partial_prefix(q[self.members, 0], self.cache, self.lengths)
        part = jax.tree.map(lambda x: x.reshape(-1, 1, *x.shape[2:])[self.places], by_prompt)
        alone = (self.places < 0)[:, None, None]
        return part._replace(peaks=jnp.where(alone, jnp.finfo(jnp.float32).min, part.peaks))


class ExtendMemory(NamedTuple):
    """Rows gathered from their slots, each with a copy of its shared prompt if it has one.

    rows: keys and values with room for the new tokens behind each row's length  # [B, K, S, C]
    prefix, prefix_lengths: of each row's shared prompt; length 0 for none  # [B, K, P, C], [B]
    """

    rows: LayerCache
    prefix: LayerCache | None = None
    prefix_lengths: RowLengths | None = None

    def attend(self, q: Queries, k: CachedHeads, v: CachedHeads, slots: Slots) -> tuple[Queries, LayerCache]:
        """See `LayerMemory`; the memory after holds the new tokens alone."""
        new = LayerCache(k, v)
        if self.prefix is None:
            return self.rows.attend(q, k, v, slots)[0], new
        rows = self.rows.write(k, v, slots[:, 0])
        parts = (
            _partial_prefix(q, self.prefix, self.prefix_lengths),
            partial_attention(q, rows.keys, rows.values, query_slots=slots),
        )
        return merge_attention(parts, q.dtype), new


class DecodeMemory(NamedTuple):
    """One new token a row, all written to the same column of the tail.

    keys, values: of the rows, read only, their first `lengths` slots count  # [B, K, C, S], [B, K, S, C]
    tail: tokens decoded since the rows were last brought up to date  # [B, K, T, C]
    """

    keys: Float[Array, "B K C S"]
    values: CachedHeads
    lengths: RowLengths
    tail: LayerCache
    column: Int[Array, ""]
    prefix: SharedPrefix | None

    def attend(self, q: Queries, k: CachedHeads, v: CachedHeads, slots: Slots) -> tuple[Queries, LayerCache]:
        """See `LayerMemory`; the memory after is the tail."""
        tail = LayerCache(
            *(
                jax.lax.dynamic_update_slice(old, new.astype(old.dtype), (0, 0, self.column, 0))
                for old, new in zip(self.tail, (k, v), strict=True)
            )
        )
        columns = jnp.broadcast_to(self.column, slots.shape)
        parts = [
            partial_attention(
                q, self.keys.swapaxes(2, 3), self.values, query_slots=self.lengths[:, None] - 1
            ),
            partial_attention(q, *tail, query_slots=columns),
        ]
        if self.prefix is not None:
            parts.append(self.prefix.attend(q))
        return merge_attention(parts, q.dtype), tail


def _partial_prefix(q: Float[Array, "N L H C"], prefix: LayerCache, lengths: RowLengths) -> PartialAttention:
    visible = jnp.arange(prefix.keys.shape[2]) < lengths[:, None]
    return partial_attention(
        q,
        *prefix,
        query_segments=jnp.zeros(q.shape[:2], jnp.int32),
        key_segments=jnp.where(visible, 0, -1),
    )
