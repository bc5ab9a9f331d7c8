"""The device state of a sampler's slots: caches, and what each row needs for its next token."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Key

from vigorl_jax.array_typing import Array, Float, Int, RowLengths
from vigorl_jax.qwen25vl.config import TextConfig
from vigorl_jax.qwen25vl.text import Cache, empty_cache
from vigorl_jax.sampling import decoding
from vigorl_jax.sampling.caches import Block, RowsCache
from vigorl_jax.sampling.decoding import SamplingSettings
from vigorl_jax.sampling.shapes import Shapes
from vigorl_jax.sampling.stops import StopTable, advance


class Rows(NamedTuple):
    """One entry a slot; what is left over from earlier episodes means nothing.

    lengths: tokens of the row's own cache  # [B]
    positions: M-RoPE position of the pending token  # [B]
    pending: the last token drawn; it enters the cache with the next step or extension  # [B]
    drawn: tokens drawn in the turn  # [B]
    limits: tokens at which the turn ends  # [B]
    active: the turn goes on  # [B]
    stopped: the turn ended in a stop  # [B]
    failed: some logits of the turn were not numbers  # [B]
    stop_states: of the stop automaton  # [B]
    keys: of the turn; its n-th token is drawn with the key folded with n  # [B]
    settings: of the turn  # [B] each
    seen: tokens given or drawn so far; None where no repetition penalty is compiled  # [B, V]
    prompts: index of the shared prompt that the row continues, -1 if its own cache holds it  # [B]
    """

    lengths: RowLengths
    positions: Int[Array, "B"]
    pending: Int[Array, "B"]
    drawn: Int[Array, "B"]
    limits: Int[Array, "B"]
    active: Bool[Array, "B"]
    stopped: Bool[Array, "B"]
    failed: Bool[Array, "B"]
    stop_states: Int[Array, "B"]
    keys: Key[Array, "B"]
    settings: SamplingSettings
    seen: Bool[Array, "B V"] | None
    prompts: Int[Array, "B"]


class Slots(NamedTuple):
    """Everything that a decode step changes; donated from step to step.

    cache: of each row  # [B, K, S, C] a layer
    prefixes, prefix_lengths: shared prompts; None where each row holds its own  # [N, K, P, C] a layer, [N]
    """

    cache: tuple[RowsCache, ...]
    rows: Rows
    prefixes: Cache | None
    prefix_lengths: RowLengths | None


class Turns(NamedTuple):
    """The turns that begin in one call, on the host or the device.

    slots: where; a slot beyond the last marks padding  # [r]
    streams: seed, step, example, episode, turn  # [r, 5]
    """

    slots: Int[Array, "r"] | np.ndarray
    streams: Int[Array, "r 5"] | np.ndarray
    positions: Int[Array, "r"] | np.ndarray
    limits: Int[Array, "r"] | np.ndarray
    settings: SamplingSettings


class Emitted(NamedTuple):
    """Tokens of some rows, or of some steps of all rows.  # [r] or [T, B] each"""

    tokens: Int[Array, "..."]
    logprobs: Float[Array, "..."]
    truncated_logprobs: Float[Array, "..."]


def empty_slots(config: TextConfig, shapes: Shapes, dtype: jnp.dtype) -> Slots:
    """Slots without any row."""
    n = shapes.slots
    zeros, no = jnp.zeros(n, jnp.int32), jnp.zeros(n, bool)
    ones = jnp.ones(n, jnp.float32)
    rows = Rows(
        *(zeros,) * 5,
        *(no,) * 3,
        stop_states=zeros,
        keys=jax.random.split(jax.random.key(0), n),
        settings=SamplingSettings(ones, ones, zeros, 0 * ones, ones),
        seen=jnp.zeros((n, config.vocab_size), bool) if shapes.repetition_penalty else None,
        prompts=zeros - 1,
    )

    def layer() -> RowsCache:
        heads, channels = config.num_kv_heads, config.head_dim
        return RowsCache(tuple(Block.empty(n, heads, size, channels, dtype) for size in shapes.blocks))

    return Slots(
        tuple(layer() for _ in range(config.num_layers)),
        rows,
        empty_cache(config, shapes.prefixes, shapes.prompt_lengths[-1], dtype) if shapes.prefixes else None,
        jnp.zeros(shapes.prefixes, jnp.int32) if shapes.prefixes else None,
    )


def turn_keys(streams: Int[Array, "r 5"]) -> Key[Array, "r"]:
    """The key of each turn: that of its seed, folded with step, example, episode and turn in this order."""

    def key(stream: Array) -> Array:
        folded = jax.random.key(stream[0])
        for number in stream[1:]:
            folded = jax.random.fold_in(folded, number)
        return folded

    return jax.vmap(key)(streams)


def begin_turns(
    rows: Rows, turns: Turns, logits: Float[Array, "r V"], table: StopTable, banned: Array
) -> tuple[Rows, Emitted]:
    """Draws the first token of each turn and writes its state into its slot; padding writes nothing."""
    keys = turn_keys(turns.streams)
    first = jnp.zeros_like(turns.slots)
    seen = None if rows.seen is None else rows.seen.at[turns.slots].get(mode="clip")
    draw = decoding.draw(logits, turns.settings, token_keys(keys, first), banned, seen)
    states, stopped = advance(table, first, draw.tokens)
    values = Rows(
        lengths=rows.lengths,
        positions=turns.positions,
        pending=draw.tokens,
        drawn=first + 1,
        limits=turns.limits,
        active=~stopped & (turns.limits > 1),
        stopped=stopped,
        failed=~jnp.isfinite(draw.logprobs),
        stop_states=states,
        keys=keys,
        settings=turns.settings,
        seen=None,
        prompts=rows.prompts,
    )
    kept = {"lengths", "prompts", "seen"}
    begun = {
        name: jax.tree.map(
            lambda old, new: old.at[turns.slots].set(new, mode="drop"), getattr(rows, name), new
        )
        for name, new in values._asdict().items()
        if name not in kept
    }
    if rows.seen is not None:
        begun["seen"] = rows.seen.at[turns.slots, draw.tokens].set(True, mode="drop")
    return rows._replace(**begun), Emitted(draw.tokens, draw.logprobs, draw.truncated_logprobs)


def token_keys(keys: Key[Array, "r"], drawn: Int[Array, "r"]) -> Key[Array, "r"]:
    """The key of the next token of each row: that of its turn, folded with the tokens drawn before it."""
    return jax.vmap(jax.random.fold_in)(keys, drawn)
