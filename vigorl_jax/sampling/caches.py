"""The memories that a forward pass reads and fills: capturing a prompt, extending rows, decoding in step.

Rows are decoded together but are not equally long. Writing each row's new key behind its own tokens would cost a
scatter a step and layer; instead all rows write to one column of a short *tail*, in place, and the tail is moved
behind each row's own tokens once for many steps.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
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
AXES = (2, 1)  # of the tokens in one row of a block: keys, values


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


class Block(NamedTuple):
    """Keys and values of some tokens of each row. Keys lie with the tokens last: as the products want them.

    keys, values: [B, K, C, S], [B, K, S, C]
    """

    keys: Float[Array, "B K C S"]
    values: CachedHeads

    @classmethod
    def empty(cls, rows: int, heads: int, tokens: int, head_dim: int, dtype: jnp.dtype) -> "Block":
        """Zeros."""
        return cls(
            jnp.zeros((rows, heads, head_dim, tokens), dtype),
            jnp.zeros((rows, heads, tokens, head_dim), dtype),
        )

    @classmethod
    def of(cls, keys: CachedHeads, values: CachedHeads, dtype: jnp.dtype) -> "Block":
        """Keys and values [B, K, L, C] as a pass of the model brings them."""
        return cls(keys.swapaxes(2, 3).astype(dtype), values.astype(dtype))

    def attend(self, q: Queries, last: Slots) -> PartialAttention:
        """Attention to the tokens up to the last that each query sees; negative for none."""
        return partial_attention(q, self.keys.swapaxes(2, 3), self.values, query_slots=last)

    def rows(self, at: Int[Array, "r"]) -> "Block":
        """A copy of some rows; of one beyond the last, anything."""
        return Block(*(x.at[at].get(mode="clip") for x in self))

    @property
    def tokens(self) -> int:
        """That it holds of each row."""
        return self.values.shape[2]


class RowsCache(NamedTuple):
    """One layer's keys and values of all slots, cut into blocks along the tokens.

    Calls that need only the first tokens read whole blocks: nothing has to be cut out of a larger array and copied.

    blocks: a row's tokens in order, counted through the blocks.
    """

    blocks: tuple[Block, ...]

    @property
    def tokens(self) -> int:
        """That a row can hold."""
        return sum(block.tokens for block in self.blocks)

    def first(self, tokens: int) -> Iterator[tuple[int, Block]]:
        """The blocks that hold the first tokens, each with the number of tokens before it."""
        return itertools.takewhile(lambda pair: pair[0] < tokens, self._by_offset())

    def place(self, at: Int[Array, "r"], prompts: LayerCache, sources: Int[Array, "r"]) -> "RowsCache":
        """Prompts [N, K, P, C] from the first slot on: that of index sources[i] in row at[i]."""
        length = prompts.keys.shape[2]

        def placed(block: Block, offset: int) -> Block:
            if offset >= length:
                return block
            part = (x[sources, :, offset : offset + block.tokens] for x in prompts)
            new = Block.of(*part, block.keys.dtype)
            return Block(
                block.keys.at[at, :, :, : new.tokens].set(new.keys, mode="drop"),
                block.values.at[at, :, : new.tokens].set(new.values, mode="drop"),
            )

        return self._changed(placed)

    def write_rows(self, at: Int[Array, "r"], starts: RowLengths, new: Block) -> "RowsCache":
        """New tokens of the rows `at`, from each one's start on; those of a row or slot beyond the last are dropped."""

        def written(block: Block, offset: int) -> Block:
            firsts, windows = _windows(block.rows(at), starts - offset, new)
            where = jnp.stack([at, firsts], axis=1)

            def put(x: Array, windows: Array, axis: int) -> Array:
                numbers = jax.lax.ScatterDimensionNumbers((1, 2, 3), (0,), (0, 1 + axis))
                mode = jax.lax.GatherScatterMode.FILL_OR_DROP
                return jax.lax.scatter(x, where, windows, numbers, mode=mode)

            return Block(*map(put, block, windows, AXES))

        return self._changed(written)

    def _by_offset(self) -> Iterator[tuple[int, Block]]:
        offset = 0
        for block in self.blocks:
            yield offset, block
            offset += block.tokens

    def _changed(self, change: Callable[[Block, int], Block]) -> "RowsCache":
        return RowsCache(tuple(change(block, offset) for offset, block in self._by_offset()))


class ExtendMemory(NamedTuple):
    """New tokens of some rows: they attend to what their rows hold and to each other.

    cache: of all slots.
    at: the slot of each row; one beyond the last is no row  # [B]
    read: tokens of the cache that are read; at least the longest row.
    prefixes, prompts, prefix_lengths: shared prompts, which of them is each row's, and its length; 0 for none
      # [N, K, P, C], [B], [B]
    """

    cache: RowsCache
    at: Int[Array, "B"]
    read: int
    prefixes: LayerCache | None = None
    prompts: Int[Array, "B"] | None = None
    prefix_lengths: RowLengths | None = None

    def attend(
        self, q: Queries, k: CachedHeads, v: CachedHeads, slots: Slots
    ) -> tuple[Queries, "ExtendMemory"]:
        """See `LayerMemory`; the memory after has the new tokens in its cache."""
        starts, new = slots[:, 0], Block.of(k, v, self.cache.blocks[0].keys.dtype)
        parts = [self._rows(starts, new).attend(q, slots)]
        if self.prefixes is not None:
            prefix = LayerCache(*(x[self.prompts] for x in self.prefixes))
            parts.append(_partial_prefix(q, prefix, self.prefix_lengths))
        cache = self.cache.write_rows(self.at, starts, new)
        return merge_attention(parts, q.dtype), self._replace(cache=cache)

    def _rows(self, starts: RowLengths, new: Block) -> Block:
        """A copy of the rows' own tokens with the new ones behind them."""
        taken = [block.rows(self.at) for _, block in self.cache.first(self.read)]
        whole = (jnp.concatenate(x, axis + 1) for *x, axis in zip(*taken, new, AXES, strict=True))
        return Block(*map(_put, whole, new, (starts, starts), AXES))


class DecodeMemory(NamedTuple):
    """One new token a row, all written to the same column of the tail.

    rows: blocks of the cache, read only, each with the number of tokens before it; of a row, `lengths` slots count.
    tail: tokens decoded since the rows were last brought up to date.
    """

    rows: Sequence[tuple[int, Block]]
    lengths: RowLengths
    tail: Block
    column: Int[Array, ""]
    prefix: SharedPrefix | None

    def attend(
        self, q: Queries, k: CachedHeads, v: CachedHeads, slots: Slots
    ) -> tuple[Queries, "DecodeMemory"]:
        """See `LayerMemory`; the memory after has the new token in its tail."""
        new = Block.of(k, v, self.tail.keys.dtype)
        put = jax.lax.dynamic_update_slice_in_dim
        tail = Block(*(put(*x, self.column, axis + 1) for *x, axis in zip(self.tail, new, AXES, strict=True)))
        parts = [tail.attend(q, jnp.broadcast_to(self.column, slots.shape))]
        parts += [block.attend(q, self.lengths[:, None] - 1 - offset) for offset, block in self.rows]
        if self.prefix is not None:
            parts.append(self.prefix.attend(q))
        return merge_attention(parts, q.dtype), self._replace(tail=tail)


def write_tails(
    cache: Sequence[RowsCache], starts: RowLengths, tails: Sequence[Block]
) -> tuple[RowsCache, ...]:
    """The cache of all layers, each row with new tokens from its own start on; those beyond the last slot are dropped.

    Blocks into which no row writes stay as they are.
    """
    written = []
    for i, (offset, block) in enumerate(cache[0].first(cache[0].tokens)):
        met = (starts < offset + block.tokens) & (starts + tails[0].tokens > offset)

        def write(blocks: list[Block], offset: int = offset) -> list[Block]:
            return [_written(block, starts - offset, tail) for block, tail in zip(blocks, tails, strict=True)]

        written.append(
            jax.lax.cond(met.any(), write, lambda blocks: blocks, [layer.blocks[i] for layer in cache])
        )
    return tuple(map(RowsCache, zip(*written, strict=True)))


def _written(block: Block, starts: RowLengths, new: Block) -> Block:
    firsts, windows = _windows(block, starts, new)
    return Block(*map(_put, block, windows, (firsts, firsts), AXES))


# Puts what is new into rows, each at its own start along the tokens' axis.
_put = jax.vmap(jax.lax.dynamic_update_slice_in_dim, (0, 0, 0, None))


def _windows(rows: Block, starts: RowLengths, new: Block) -> tuple[RowLengths, Block]:
    """Where each of the rows is to be written, and with what, to bring in its new tokens.

    A window of as many slots as there are new tokens, or of the whole row if that is shorter, holds all that fall into
    the row.
    """
    width = min(rows.tokens, new.tokens)
    firsts = jnp.clip(starts, 0, rows.tokens - width)

    def window(row: Array, new: Array, first: Array, start: Array, axis: int) -> Array:
        index = first - start + jnp.arange(width)
        old = jax.lax.dynamic_slice_in_dim(row, first, width, axis)
        inside = jnp.expand_dims((index >= 0) & (index < new.shape[axis]), [i for i in range(3) if i != axis])
        return jnp.where(inside, jnp.take(new, index, axis, mode="clip").astype(row.dtype), old)

    windows = jax.vmap(window, (0, 0, 0, 0, None))
    return firsts, Block(
        *(windows(*args, firsts, starts, axis) for *args, axis in zip(rows, new, AXES, strict=True))
    )


def _partial_prefix(q: Float[Array, "N L H C"], prefix: LayerCache, lengths: RowLengths) -> PartialAttention:
    visible = jnp.arange(prefix.keys.shape[2]) < lengths[:, None]
    return partial_attention(
        q,
        *prefix,
        query_segments=jnp.zeros(q.shape[:2], jnp.int32),
        key_segments=jnp.where(visible, 0, -1),
    )
