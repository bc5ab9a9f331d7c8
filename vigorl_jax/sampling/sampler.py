"""The jitted steps over slots: prefill, place, extend, decode. Shapes are declared; everything else is traced."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from vigorl_jax.array_typing import Array, Int, RowLengths
from vigorl_jax.qwen25vl.config import Config
from vigorl_jax.qwen25vl.model import Params, Qwen25VL, bind
from vigorl_jax.qwen25vl.text import Cache
from vigorl_jax.sampling import decoding, kernels
from vigorl_jax.sampling.caches import (
    Block,
    CaptureMemory,
    DecodeMemory,
    ExtendMemory,
    SharedPrefix,
    write_tails,
)
from vigorl_jax.sampling.placement import constrain_slots
from vigorl_jax.sampling.shapes import Shapes
from vigorl_jax.sampling.slots import Emitted, Rows, Slots, Turns, begin_turns, empty_slots, token_keys
from vigorl_jax.sampling.stops import StopTable, advance

# What a step computes with, and what makes it of the parameters.
Model = Qwen25VL | kernels.TurnedModel
Build = Callable[[Params], Model]


class Pieces(NamedTuple):
    """Right-padded rows of given tokens.

    tokens, positions: ids and M-RoPE ids  # [r, L], [3, r, L]
    image_slots: row of the kept image embeddings that stands at the token, negative for text  # [r, L]
    lengths: tokens of each row, at least 1  # [r]
    """

    tokens: Int[Array, "r L"] | np.ndarray
    positions: Int[Array, "3 r L"] | np.ndarray
    image_slots: Int[Array, "r L"] | np.ndarray
    lengths: RowLengths | np.ndarray


class Prefilled(NamedTuple):
    """Prompts that have been read: their cache, and the logits that follow them.

    cache: [r, K, L, C] a layer; lengths: [r]; logits: [r, V]; seen: ids in each prompt, if they are kept  # [r, V]
    """

    cache: Cache
    lengths: RowLengths
    logits: Array
    seen: Array | None


class Decoded(NamedTuple):
    """What a call of `decode` brought.

    emitted: by step; a row's tokens are its first `counts`  # [T, B] each
    counts: tokens that each row drew in the call  # [B]
    active, stopped, failed: see `Rows`, after the call  # [B]
    steps: decode steps that were run.
    """

    emitted: Emitted
    counts: Int[Array, "B"]
    active: Array
    stopped: Array
    failed: Array
    steps: Array


class Sampler:
    """Compiled steps for one model and one set of shapes; parameters and slots are arguments.

    Each step takes the parameters first, as `prepare` returns them. Steps that change the slots take them donated: keep
    the returned ones.
    """

    def __init__(
        self,
        config: Config,
        shapes: Shapes,
        *,
        text_tokens: int | None = None,
        mesh: Mesh | None = None,
    ):
        """text_tokens: see `decoding.banned_tokens`. mesh: of the parameters, when they lie on several devices."""
        self.config, self.shapes = config, shapes
        self._turns = kernels.turns_kernels(mesh)
        build = functools.partial(kernels.TurnedModel if self._turns else bind, config)
        # On the host: an array on one device could not enter a computation on several.
        banned = decoding.banned_tokens(config, text_tokens=text_tokens)

        def stepping(step: Callable, *static: object, **options: Any) -> Callable:
            def call(*args: Any, **named: Any) -> tuple[Slots, Any]:
                slots, result = step(*static, *args, **named)
                return constrain_slots(config, slots, mesh), result

            return jax.jit(call, **options)

        self.prefill = jax.jit(functools.partial(_prefill, build, config, shapes))
        self.place = stepping(_place, banned, donate_argnums=0)
        self.share = stepping(_share, donate_argnums=0)
        self.extend = stepping(_extend, build, config, banned, donate_argnums=2, static_argnames="read")
        self.decode = stepping(
            _decode, build, config, shapes.chunk, banned, donate_argnums=1, static_argnames="read"
        )
        self._empty = jax.jit(
            lambda dtype: constrain_slots(config, empty_slots(config.text, shapes, dtype), mesh),
            static_argnums=0,
        )

    def prepare(self, params: Params) -> Params:
        """The parameters as the steps read them; on one CPU device a second copy of the text kernels, else the same."""
        return kernels.turn(params) if self._turns else params

    def empty_slots(self, dtype: jnp.dtype) -> Slots:
        """Slots without any row, whose caches have the dtype of the parameters."""
        return self._empty(jnp.dtype(dtype))

    def compilations(self) -> dict[str, int]:
        """How many shapes of each step have been compiled."""
        return {
            name: getattr(self, name)._cache_size()
            for name in ("prefill", "place", "share", "extend", "decode")
        }


def _prefill(
    build: Build, config: Config, shapes: Shapes, params: Params, image_embeds: Array, prompts: Pieces
) -> Prefilled:
    model = build(params)
    embedded = model.embed(prompts.tokens, prompts.image_slots, image_embeds)
    hidden, cache = model.language_model(
        embedded, prompts.positions, cache=(CaptureMemory(),) * config.text.num_layers
    )
    seen = _seen(prompts, config.text.vocab_size) if shapes.repetition_penalty else None
    return Prefilled(cache, prompts.lengths, _last_logits(model, hidden, prompts.lengths), seen)


def _place(
    banned: Array,
    slots: Slots,
    prefilled: Prefilled,
    sources: Array,
    prompts: Array,
    turns: Turns,
    table: StopTable,
) -> tuple[Slots, Emitted]:
    """Begins turns behind prefilled prompts: row i continues prompt sources[i].

    prompts: for each row its shared prompt, whose cache `share` has stored; negative to copy the prompt into the
      row's own cache. With shared prefixes compiled, all are shared; without, all are copied.
    """
    at, rows, cache = turns.slots, slots.rows, slots.cache
    lengths = prefilled.lengths[sources]
    if slots.prefixes is None:
        cache = tuple(
            layer.place(at, prompt, sources) for layer, prompt in zip(cache, prefilled.cache, strict=True)
        )
    else:
        lengths = jnp.zeros_like(lengths)
    rows = rows._replace(
        lengths=rows.lengths.at[at].set(lengths, mode="drop"),
        prompts=rows.prompts.at[at].set(prompts, mode="drop"),
    )
    if rows.seen is not None:
        rows = rows._replace(seen=rows.seen.at[at].set(prefilled.seen[sources], mode="drop"))
    rows, first = begin_turns(rows, turns, prefilled.logits[sources], table, banned)
    return slots._replace(cache=cache, rows=rows), first


def _share(slots: Slots, prefilled: Prefilled, prompts: Array) -> tuple[Slots, None]:
    """Keeps the cache of prompt i of a prefill as shared prompt prompts[i]; an index beyond the last keeps nothing."""
    length = prefilled.cache[0].keys.shape[2]
    prefixes = jax.tree.map(
        lambda kept, new: kept.at[prompts, :, :length].set(new.astype(kept.dtype), mode="drop"),
        slots.prefixes,
        prefilled.cache,
    )
    slots = slots._replace(
        prefixes=prefixes,
        prefix_lengths=slots.prefix_lengths.at[prompts].set(prefilled.lengths, mode="drop"),
    )
    return slots, None


def _extend(
    build: Build,
    config: Config,
    banned: Array,
    params: Params,
    image_embeds: Array,
    slots: Slots,
    given: Pieces,
    turns: Turns,
    table: StopTable,
    *,
    read: int,
) -> tuple[Slots, Emitted]:
    """Appends given tokens, the row's pending token first, to its cache and begins its next turn.

    read: tokens of the cache that are read; at least the longest row of the call.
    """
    at, rows = turns.slots, slots.rows
    lengths = rows.lengths.at[at].get(mode="fill", fill_value=0)
    model = build(params)
    embedded = model.embed(given.tokens, given.image_slots, image_embeds)
    memories = _extend_memories(slots, at, read)
    hidden, extended = model.language_model(embedded, given.positions, cache=memories, lengths=lengths)
    rows = rows._replace(lengths=rows.lengths.at[at].set(lengths + given.lengths, mode="drop"))
    if rows.seen is not None:
        seen = rows.seen.at[at].get(mode="clip") | _seen(given, config.text.vocab_size)
        rows = rows._replace(seen=rows.seen.at[at].set(seen, mode="drop"))
    rows, first = begin_turns(rows, turns, _last_logits(model, hidden, given.lengths), table, banned)
    return slots._replace(cache=tuple(memory.cache for memory in extended), rows=rows), first


def _extend_memories(slots: Slots, at: Array, read: int) -> list[ExtendMemory]:
    if slots.prefixes is None:
        return [ExtendMemory(layer, at, read) for layer in slots.cache]
    prompts = slots.rows.prompts.at[at].get(mode="clip")
    lengths = jnp.where(prompts >= 0, slots.prefix_lengths[prompts], 0)
    return [
        ExtendMemory(layer, at, read, prefixes, prompts, lengths)
        for layer, prefixes in zip(slots.cache, slots.prefixes, strict=True)
    ]


def _decode(
    build: Build,
    config: Config,
    chunk: int,
    banned: Array,
    params: Params,
    slots: Slots,
    members: Array | None,
    places: Array | None,
    table: StopTable,
    max_steps: Array,
    leave_after: Array,
    *,
    read: int,
) -> tuple[Slots, Decoded]:
    """Decodes all active rows until `leave_after` of them have ended their turn, or for max_steps steps.

    members, places: see `SharedPrefix`; None where each row holds its own prompt.
    max_steps: at most the chunk. read: tokens of the cache that are read; at least the longest active row.
    """
    model = build(params)
    before = slots.rows
    main = [tuple(layer.first(read)) for layer in slots.cache]
    prefixes = [None] * len(main)
    if slots.prefixes is not None:
        prefixes = [SharedPrefix(layer, slots.prefix_lengths, members, places) for layer in slots.prefixes]
    text, num_rows = config.text, before.active.shape[0]
    tail = tuple(
        Block.empty(num_rows, text.num_kv_heads, chunk, text.head_dim, layer.blocks[0].values.dtype)
        for layer in slots.cache
    )

    def go_on(carry) -> Array:
        step, rows, _, _ = carry
        ended = jnp.sum(before.active & ~rows.active)
        return (step < max_steps) & rows.active.any() & (ended < leave_after)

    def body(carry):
        step, rows, tail, log = carry
        positions = jnp.broadcast_to(rows.positions[:, None], (3, rows.positions.shape[0], 1))
        memories = [
            DecodeMemory(layer, before.lengths, end, step, prefix)
            for layer, end, prefix in zip(main, tail, prefixes, strict=True)
        ]
        hidden, after = model.language_model(model.embed(rows.pending[:, None]), positions, cache=memories)
        rows, emitted = _next_tokens(rows, model.logits(hidden)[:, 0], table, banned)
        log = jax.tree.map(
            lambda all_, new: jax.lax.dynamic_update_slice(all_, new[None], (step, 0)), log, emitted
        )
        return step + 1, rows, tuple(memory.tail for memory in after), log

    blank = jnp.zeros((chunk, before.active.shape[0]), jnp.float32)
    log = Emitted(blank.astype(jnp.int32), blank, blank)
    steps, rows, tail, log = jax.lax.while_loop(go_on, body, (jnp.int32(0), before, tail, log))
    counts = rows.drawn - before.drawn
    starts = jnp.where(counts > 0, before.lengths, slots.cache[0].tokens)  # the others have nothing to write
    cache = write_tails(slots.cache, starts, tail)
    slots = slots._replace(cache=cache, rows=rows._replace(lengths=before.lengths + counts))
    return slots, Decoded(log, counts, rows.active, rows.stopped, rows.failed, steps)


def _next_tokens(rows: Rows, logits: Array, table: StopTable, banned: Array) -> tuple[Rows, Emitted]:
    """Draws a token for each row; those whose turn has ended stay as they are."""
    on = rows.active
    draw = decoding.draw(logits, rows.settings, token_keys(rows.keys, rows.drawn), banned, rows.seen)
    states, stopped = advance(table, rows.stop_states, draw.tokens)
    tokens = jnp.where(on, draw.tokens, rows.pending)
    drawn = rows.drawn + on
    seen = rows.seen
    if seen is not None:
        seen = seen.at[jnp.arange(tokens.shape[0]), tokens].set(True)
    rows = rows._replace(
        positions=rows.positions + on,
        pending=tokens,
        drawn=drawn,
        active=on & ~stopped & (drawn < rows.limits),
        stopped=rows.stopped | (on & stopped),
        failed=rows.failed | (on & ~jnp.isfinite(draw.logprobs)),
        stop_states=jnp.where(on, states, rows.stop_states),
        seen=seen,
    )
    return rows, Emitted(tokens, draw.logprobs, draw.truncated_logprobs)


def _last_logits(model: Model, hidden: Array, lengths: RowLengths) -> Array:
    """Logits [r, V] of each row's last token."""
    last = jnp.take_along_axis(hidden, lengths[:, None, None] - 1, axis=1)
    return model.logits(last)[:, 0]


def _seen(pieces: Pieces, vocab_size: int) -> Array:
    rows, length = pieces.tokens.shape
    inside = jnp.arange(length) < jnp.asarray(pieces.lengths)[:, None]
    tokens = jnp.where(inside, pieces.tokens, vocab_size)
    return jnp.zeros((rows, vocab_size), bool).at[jnp.arange(rows)[:, None], tokens].set(True, mode="drop")
