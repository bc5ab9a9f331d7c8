"""The vision tower: normalised patches in, one embedding for each merge unit of 2 x 2 patches out."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import nnx

from vigorl_jax.array_typing import (
    Array,
    Float,
    PatchCoordinates,
    Patches,
    PatchHidden,
    PatchSlots,
    typed,
)
from vigorl_jax.qwen25vl import rope
from vigorl_jax.qwen25vl.attention import attention
from vigorl_jax.qwen25vl.config import VISION_NORM_EPS, VisionConfig
from vigorl_jax.qwen25vl.layers import GatedMLP, Observer, RMSNorm, linear, unobserved, unwrapped
from vigorl_jax.qwen25vl.patch_layout import PADDING, PatchLayout, tile_slots
from vigorl_jax.qwen25vl.rope import Rotation


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PatchBatch:
    """The images of one call of the tower, as device arrays. All shapes derive from the layout's bucket (N, R).

    Attributes:
      patches: normalised pixels, images one after the other, padded with anything to N * R patches  # [N * R, pixels]
      source, coordinates, windows, images: see PatchLayout  # [N, R], [N, R, 2], [N, R], [N, R]
    """

    patches: Patches
    source: PatchSlots
    coordinates: PatchCoordinates
    windows: PatchSlots
    images: PatchSlots

    @classmethod
    def from_layout(cls, patches: Patches, layout: PatchLayout) -> "PatchBatch":
        """Joins patches, already padded to layout.source.size, with their layout.

        Raises:
          ValueError: the number of patches is not that of the layout's bucket.
        """
        if patches.shape[0] != layout.source.size:
            raise ValueError(
                f"{patches.shape[0]} patches given, the layout's bucket {layout.bucket} wants {layout.source.size}: "
                "pad them to the bucket"
            )
        return cls(
            patches,
            jnp.asarray(layout.source),
            jnp.asarray(layout.coordinates),
            jnp.asarray(layout.windows),
            jnp.asarray(layout.images),
        )


class VisionAttention(nnx.Module):
    """Multi-head attention among the slots of equal segment, with 2-D rotary queries and keys."""

    def __init__(self, config: VisionConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.num_heads = config.num_heads
        for name in ("q", "k", "v", "proj"):
            setattr(self, name, linear(config.width, config.width, dtype=dtype, rngs=rngs))

    @typed
    def __call__(self, x: PatchHidden, rotation: Rotation, segments: PatchSlots, span: int) -> PatchHidden:
        """Attends within each run of `span` slots; `span` divides R."""
        rows, slots, width = x.shape

        def heads(y: Array) -> Array:
            return y.reshape(rows, slots, self.num_heads, -1)

        def spans(y: Array) -> Array:
            return y.reshape(rows * slots // span, span, *y.shape[2:])

        q = spans(rope.rotate(heads(self.q(x)), rotation))
        k = spans(rope.rotate(heads(self.k(x)), rotation)).swapaxes(1, 2)
        v = spans(heads(self.v(x))).swapaxes(1, 2)
        segments = spans(segments)
        out = attention(q, k, v, query_segments=segments, key_segments=segments)
        return self.proj(out.reshape(rows, slots, width))


class VisionBlock(nnx.Module):
    """Pre-norm attention and gated MLP, each added to its input."""

    def __init__(self, config: VisionConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.norm1 = RMSNorm(config.width, VISION_NORM_EPS, dtype=dtype)
        self.attn = VisionAttention(config, dtype=dtype, rngs=rngs)
        self.norm2 = RMSNorm(config.width, VISION_NORM_EPS, dtype=dtype)
        self.mlp = GatedMLP(config.width, config.mlp_width, use_bias=True, dtype=dtype, rngs=rngs)

    @typed
    def __call__(self, x: PatchHidden, rotation: Rotation, segments: PatchSlots, span: int) -> PatchHidden:
        x = x + self.attn(self.norm1(x), rotation, segments, span)
        return x + self.mlp(self.norm2(x))


class PatchMerger(nnx.Module):
    """Joins the patches of a merge unit and maps them to the language model's width."""

    def __init__(self, config: VisionConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        joined = config.width * config.spatial_merge_size**2
        self.norm = RMSNorm(config.width, VISION_NORM_EPS, dtype=dtype)
        self.fc1 = linear(joined, joined, dtype=dtype, rngs=rngs)
        self.fc2 = linear(joined, config.out_width, dtype=dtype, rngs=rngs)

    @typed
    def __call__(self, x: PatchHidden) -> Float[Array, "_units D_out"]:
        joined = self.norm(x).reshape(-1, self.fc1.in_features)
        return self.fc2(jax.nn.gelu(self.fc1(joined), approximate=False))


class VisionTower(nnx.Module):
    """Patch embedding, blocks with window or full attention, merger.

    wrap_layer: a `WrapLayer` for the blocks; whoever has bound the model may set another.
    """

    def __init__(self, config: VisionConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs):
        self.config = config
        self.wrap_layer = unwrapped
        self.patch_embed = linear(config.patch_values, config.width, use_bias=False, dtype=dtype, rngs=rngs)
        self.blocks = nnx.Dict(
            {str(i): VisionBlock(config, dtype=dtype, rngs=rngs) for i in range(config.depth)}
        )
        self.merger = PatchMerger(config, dtype=dtype, rngs=rngs)

    @typed
    def __call__(self, batch: PatchBatch, observe: Observer = unobserved) -> Float[Array, "_units D_out"]:
        """Embeddings of the merge units in slot order: PatchLayout.token_slots says which belong to which image."""
        merged = self.merger(self.hidden(batch, observe))
        observe("visual.merger", merged)
        return merged

    @typed
    def hidden(self, batch: PatchBatch, observe: Observer = unobserved) -> PatchHidden:
        """What the merger takes: the patches behind the last block."""
        embedded = self.patch_embed(batch.patches.astype(self.patch_embed.kernel.dtype))
        x = jnp.where((batch.source != PADDING)[..., None], embedded[batch.source], 0)
        observe("visual.patch_embed", x)
        rotation = rope.rotation(rope.vision_angles(batch.coordinates, self.config.head_dim))
        for i in range(self.config.depth):
            is_full = i in self.config.full_attention_blocks
            segments, span = (
                (batch.images, x.shape[1]) if is_full else (batch.windows, tile_slots(self.config))
            )
            block = self.wrap_layer(functools.partial(self.blocks[str(i)], span=span))
            x = block(x, rotation, segments)
            observe(f"visual.blocks.{i}", x)
        return x
