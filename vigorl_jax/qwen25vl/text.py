"""The language model: embeddings and M-RoPE positions in, hidden states out, with an optional key-value cache."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from flax import nnx

from vigorl_jax.array_typing import (
    Array,
    CachedHeads,
    Hidden,
    Int,
    Positions,
    Queries,
    RowLengths,
    Tokens,
    typed,
)
from vigorl_jax.qwen25vl import rope
from vigorl_jax.qwen25vl.attention import attention, causal_attention
from vigorl_jax.qwen25vl.config import TextConfig
from vigorl_jax.qwen25vl.layers import GatedMLP, Observer, RMSNorm, linear, unobserved, unwrapped
from vigorl_jax.qwen25vl.rope import Rotation


@runtime_checkable
class LayerMemory(Protocol):
    """Where one layer keeps the keys and values of tokens before, and how its new tokens attend to them."""

    def attend(
        self, q: Queries, k: CachedHeads, v: CachedHeads, slots: Int[Array, "B L"]
    ) -> tuple[Queries, "LayerMemory"]:
        """Attention of new tokens, whose rotated keys and values are k and v  # [B, K, L, C], and the memory after.

        slots: for each new token, how many tokens of its row came before it.
        """


class LayerCache(NamedTuple):
    """Rotated keys and values of one layer; slot s of a row holds its s-th token.  # [B, K, S, C] each"""

    keys: CachedHeads
    values: CachedHeads

    def attend(
        self, q: Queries, k: CachedHeads, v: CachedHeads, slots: Int[Array, "B L"]
    ) -> tuple[Queries, "LayerCache"]:
        """Writes the new tokens behind each row's own and attends to all up to their own slot."""
        cache = self.write(k, v, slots[:, 0])
        return attention(q, cache.keys, cache.values, query_slots=slots), cache

    def write(self, k: Array, v: Array, starts: RowLengths) -> "LayerCache":
        """New keys and values [B, K, L, C] in each row's slots from its own start on; starts + L <= S."""
        return LayerCache(_write(self.keys, k, starts), _write(self.values, v, starts))


Cache = tuple[LayerCache, ...]


def empty_cache(config: TextConfig, rows: int, slots: int, dtype: jnp.dtype) -> Cache:
    """A cache of zeros for `rows` rows of up to `slots` tokens, one array per layer."""
    shape = (rows, config.num_kv_heads, slots, config.head_dim)
    return tuple(
        LayerCache(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype)) for _ in range(config.num_layers)
    )


class TextAttention(nnx.Module):
    """Causal attention with grouped key-value heads and M-RoPE."""

    def __init__(self, config: TextConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.head_dim = config.head_dim
        queries, keys = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
        self.q = linear(config.width, queries, dtype=dtype, rngs=rngs)
        self.k = linear(config.width, keys, dtype=dtype, rngs=rngs)
        self.v = linear(config.width, keys, dtype=dtype, rngs=rngs)
        self.o = linear(queries, config.width, use_bias=False, dtype=dtype, rngs=rngs)

    @typed
    def __call__(
        self,
        x: Hidden,
        rotation: Rotation,
        slots: Int[Array, "B L"],
        segments: Tokens | None,
        memory: LayerMemory | None,
    ) -> tuple[Hidden, LayerMemory | None]:
        batch, length, _ = x.shape

        def heads(y: Array) -> Array:
            return y.reshape(batch, length, -1, self.head_dim)

        q = rope.rotate(heads(self.q(x)), rotation)
        k = rope.rotate(heads(self.k(x)), rotation).swapaxes(1, 2)
        v = heads(self.v(x)).swapaxes(1, 2)
        if memory is None:
            out = causal_attention(q, k, v, segments)
        else:
            out, memory = memory.attend(q, k, v, slots)
        return self.o(out.reshape(batch, length, -1)), memory


class TextLayer(nnx.Module):
    """Pre-norm attention and gated MLP, each added to its input."""

    def __init__(self, config: TextConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.input_norm = RMSNorm(config.width, config.norm_eps, dtype=dtype)
        self.attn = TextAttention(config, dtype=dtype, rngs=rngs)
        self.post_norm = RMSNorm(config.width, config.norm_eps, dtype=dtype)
        self.mlp = GatedMLP(config.width, config.mlp_width, use_bias=False, dtype=dtype, rngs=rngs)

    @typed
    def __call__(
        self,
        x: Hidden,
        rotation: Rotation,
        slots: Int[Array, "B L"],
        segments: Tokens | None = None,
        memory: LayerMemory | None = None,
    ) -> tuple[Hidden, LayerMemory | None]:
        update, memory = self.attn(self.input_norm(x), rotation, slots, segments, memory)
        x = x + update
        return x + self.mlp(self.post_norm(x)), memory


class LanguageModel(nnx.Module):
    """Token embedding, decoder layers, final norm.

    wrap_layer: a `WrapLayer`; whoever has bound the model may set another.
    """

    def __init__(self, config: TextConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.config = config
        self.wrap_layer = unwrapped
        self.embed = nnx.Embed(
            config.vocab_size,
            config.width,
            param_dtype=dtype,
            embedding_init=nnx.initializers.normal(0.02),
            rngs=rngs,
        )
        self.layers = nnx.Dict(
            {str(i): TextLayer(config, dtype=dtype, rngs=rngs) for i in range(config.num_layers)}
        )
        self.norm = RMSNorm(config.width, config.norm_eps, dtype=dtype)

    @typed
    def __call__(
        self,
        x: Hidden,
        positions: Positions,
        *,
        segments: Tokens | None = None,
        cache: Sequence[LayerMemory] | None = None,
        lengths: RowLengths | None = None,
        observe: Observer = unobserved,
    ) -> tuple[Hidden, tuple[LayerMemory, ...] | None]:
        """Hidden states after the final norm.

        Args:
          x: embeddings of right-padded rows; padding never reaches a token before it.
          positions: M-RoPE ids (time, height, width).
          segments: ids of the dialogues packed in a row; tokens attend within their own. Not with a cache.
          cache: for each layer the keys and values of the tokens before x, a `LayerCache` or another memory.
            `lengths` says how many tokens each row holds; x is written behind them. The caller sees to it that
            lengths + L <= S: a write past the end of a LayerCache would be moved back over older tokens.
        """
        config = self.config
        slots = jnp.broadcast_to(jnp.arange(x.shape[1]), x.shape[:2])
        if lengths is not None:
            slots = slots + lengths[:, None]
        angles = rope.text_angles(positions, config.head_dim, config.rope_theta, config.mrope_section)
        rotation = rope.rotation(angles)
        updated = []
        for i in range(config.num_layers):
            layer = self.wrap_layer(self.layers[str(i)])
            x, layer_cache = layer(x, rotation, slots, segments, cache[i] if cache else None)
            updated.append(layer_cache)
            observe(f"language_model.layers.{i}", x)
        x = self.norm(x)
        observe("language_model.norm", x)
        return x, tuple(updated) if cache else None


def _write(cached: CachedHeads, new: Array, starts: RowLengths) -> CachedHeads:
    """Writes new [B, K, L, C] into each row's slots from its own start on."""
    return jax.vmap(lambda row, update, start: jax.lax.dynamic_update_slice(row, update, (0, start, 0)))(
        cached, new.astype(cached.dtype), starts
    )
