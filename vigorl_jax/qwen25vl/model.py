"""Qwen2.5-VL as a whole, and its parameters as a plain nested dict of arrays."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from vigorl_jax.array_typing import Hidden, ImageEmbeds, ImageSlots, Logits, Positions, Tokens, typed
from vigorl_jax.qwen25vl.config import Config
from vigorl_jax.qwen25vl.layers import Observer, linear, unobserved
from vigorl_jax.qwen25vl.text import LanguageModel
from vigorl_jax.qwen25vl.vision import PatchBatch, VisionTower

Params = Mapping[str, Any]


class Qwen25VL(nnx.Module):
    """Vision tower, language model and output head; computes in the dtype of its parameters."""

    def __init__(self, config: Config, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.visual = VisionTower(config.vision, dtype=dtype, rngs=rngs)
        self.language_model = LanguageModel(config.text, dtype=dtype, rngs=rngs)
        if not config.text.tie_embeddings:
            self.lm_head = linear(
                config.text.width, config.text.vocab_size, use_bias=False, dtype=dtype, rngs=rngs
            )

    @typed
    def __call__(
        self,
        tokens: Tokens,
        positions: Positions,
        image_slots: ImageSlots | None = None,
        images: PatchBatch | None = None,
        observe: Observer = unobserved,
    ) -> Logits:
        """Logits of every token of right-padded rows; see `embed` for the arguments."""
        image_embeds = None if images is None else self.visual(images, observe)
        embedded = self.embed(tokens, image_slots, image_embeds)
        hidden, _ = self.language_model(embedded, positions, observe=observe)
        return self.logits(hidden)

    @typed
    def embed(
        self,
        tokens: Tokens,
        image_slots: ImageSlots | None = None,
        image_embeds: ImageEmbeds | None = None,
    ) -> Hidden:
        """Token embeddings, with image tokens replaced by rows of `image_embeds`.

        image_slots: the row of image_embeds that stands at each token, negative where the token is text.
        """
        embedded = self.language_model.embed(tokens)
        if image_embeds is None:
            return embedded
        return jnp.where((image_slots >= 0)[..., None], image_embeds[image_slots], embedded)

    @typed
    def logits(self, hidden: Hidden) -> Logits:
        """float32 scores of the vocabulary, accumulated in float32 from the hidden states' dtype."""
        if hasattr(self, "lm_head"):
            return jnp.einsum(
                "bld,dv->blv", hidden, self.lm_head.kernel[...], preferred_element_type=jnp.float32
            )
        embedding = self.language_model.embed.embedding[...]
        return jnp.einsum("bld,vd->blv", hidden, embedding, preferred_element_type=jnp.float32)


def init_params(config: Config, key: jax.Array, dtype: jnp.dtype = jnp.float32) -> Params:
    """Random parameters: normal(0.02) kernels and embeddings, unit norms, zero biases."""
    model = Qwen25VL(config, dtype=jnp.dtype(dtype), rngs=nnx.Rngs(key))
    return nnx.to_pure_dict(nnx.state(model))


def abstract_params(config: Config, dtype: jnp.dtype = jnp.float32) -> Params:
    """Shapes and dtypes of the parameters, without any memory."""
    return nnx.to_pure_dict(_abstract(config, jnp.dtype(dtype))[1])


def bind(config: Config, params: Params) -> Qwen25VL:
    """The model with these parameters; call it inside the jitted function that takes `params`."""
    graph, state = _abstract(config, jnp.dtype(jnp.float32))
    state = jax.tree.map(lambda leaf: leaf, state)
    nnx.replace_by_pure_dict(state, params)
    return nnx.merge(graph, state)


@functools.lru_cache(maxsize=32)
def _abstract(config: Config, dtype: jnp.dtype):
    return nnx.split(nnx.eval_shape(lambda: Qwen25VL(config, dtype=dtype, rngs=nnx.Rngs(0))))
