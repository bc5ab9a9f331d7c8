"""Floating-point operations of a forward pass: the floor that timings are held against.

A multiply and an add count as two. Attention is counted where it is needed: windows within windows, causal
attention over the triangle. Norms, rotations and activations (under 1 %) are left out.
"""

import math
from collections.abc import Sequence

from vigorl_jax.qwen25vl.config import Config, TextConfig, VisionConfig
from vigorl_jax.qwen25vl.patch_layout import Grid, window_sizes


def vision_flops(config: VisionConfig, grids: Sequence[Grid]) -> int:
    """The tower on images of these grids: 1.00 megapixel through the released towers is about 7.1e12."""
    patches = sum(math.prod(grid) for grid in grids)
    width = config.width
    full_blocks = len([i for i in config.full_attention_blocks if i < config.depth])
    block = 4 * width**2 + 3 * width * config.mlp_width
    joined = width * config.spatial_merge_size**2
    linear = patches * (config.patch_values * width + config.depth * block)
    merger = patches // config.spatial_merge_size**2 * (joined**2 + joined * config.out_width)
    full = full_blocks * sum(math.prod(grid) ** 2 for grid in grids)
    windows = (config.depth - full_blocks) * sum(n**2 for grid in grids for n in window_sizes(grid, config))
    return 2 * (linear + merger + 2 * width * (full + windows))


def text_flops(config: TextConfig, new_tokens: int, cached_tokens: int = 0) -> int:
    """The decoder layers on `new_tokens` of one row behind `cached_tokens`; without embedding and logits."""
    queries, keys = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    layer = 2 * config.width * (queries + keys) + 3 * config.width * config.mlp_width
    pairs = new_tokens * cached_tokens + new_tokens * (new_tokens + 1) // 2
    return 2 * config.num_layers * (new_tokens * layer + 2 * queries * pairs)


def logits_flops(config: TextConfig, tokens: int) -> int:
    """The output projection on `tokens` tokens."""
    return 2 * tokens * config.width * config.vocab_size


def forward_flops(config: Config, tokens: int, grids: Sequence[Grid], logits: int) -> int:
    """One row of `tokens` tokens, its images included, with logits of `logits` tokens."""
    return (
        vision_flops(config.vision, grids)
        + text_flops(config.text, tokens)
        + logits_flops(config.text, logits)
    )
