"""Rotary position angles: two axes for image patches, three (M-RoPE) for dialogues with images.

Angles and rotations are float32 whatever the model's dtype: bfloat16 angles are wrong by up to 0.12 rad.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vigorl_jax.array_typing import (
    Angles,
    Array,
    Float,
    HostPositions,
    HostTokens,
    PatchCoordinates,
    Positions,
    typed,
)
from vigorl_jax.qwen25vl.config import VISION_ROPE_THETA


def inverse_frequencies(dim: int, theta: float) -> np.ndarray:
    """theta ** (-2j / dim) for j in [0, dim / 2), float32 [dim / 2].

    Every operation is rounded to float32, as in the training code of the released models: an exact value rounded once
    differs in the last bit, which at position 10,000 turns a head by 1e-3 rad.
    """
    exponents = np.arange(0, dim, 2, dtype=np.float32) / np.float32(dim)
    return np.float32(1) / np.float32(theta) ** exponents


@typed
def vision_angles(coordinates: PatchCoordinates, head_dim: int) -> Float[Array, "N R _half_head"]:
    """Angles of 2-D rotary: the first half of the frequencies turns with the patch's row, the second with its column.

    coordinates: (row, column) of each patch in its own image, in patches.
    """
    frequencies = inverse_frequencies(head_dim // 2, VISION_ROPE_THETA)
    angles = coordinates.astype(jnp.float32)[..., None] * frequencies  # [N, R, 2, C / 4]
    return angles.reshape(*coordinates.shape[:-1], head_dim // 2)


@typed
def text_angles(positions: Positions, head_dim: int, theta: float, sections: tuple[int, int, int]) -> Angles:
    """Angles of M-RoPE: frequency j turns with the time, height or width position, by `sections`.

    sections: how many of the head_dim / 2 frequencies, from the highest on, belong to each of the three axes.
    """
    axis = np.repeat(np.arange(3), sections)  # [C / 2]
    per_frequency = positions.astype(jnp.float32)[axis]  # [C / 2, B, L]
    return jnp.moveaxis(per_frequency, 0, -1) * inverse_frequencies(head_dim, theta)


class Rotation(NamedTuple):
    """Cosine and sine of the angles of every token or patch.  # float32 [B, L, C / 2] each"""

    cos: Angles
    sin: Angles


@typed
def rotation(angles: Angles) -> Rotation:
    """The tables that all layers share."""
    # A loop is the one thing that XLA for CPU does not merge into what follows: a plain cosine, barrier or not, is
    # taken anew in every layer for every head.
    cos, sin = jax.lax.map(
        lambda is_sin: jnp.where(is_sin, jnp.sin(angles), jnp.cos(angles)), jnp.array([False, True])
    )
    return Rotation(cos, sin)


@typed
def rotate(x: Float[Array, "B L H C"], by: Rotation) -> Float[Array, "B L H C"]:
    """Turns each pair (x[j], x[j + C/2]) of every head by angle j; computed in float32, returned in x's dtype."""
    cos, sin = by.cos[:, :, None], by.sin[:, :, None]
    low, high = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([low * cos - high * sin, high * cos + low * sin], axis=-1).astype(x.dtype)


@typed
def dialogue_positions(
    tokens: HostTokens,
    grids: Sequence[tuple[int, int, int]],
    *,
    image_token_id: int,
    merge: int,
    start: int = 0,
) -> tuple[HostPositions, int]:
    """M-RoPE position ids (time, height, width) of a piece of dialogue, and the position that follows it.

    Text counts up on all three axes at once. An image of a grid (t, h, w) in patches fills
    (h / merge) x (w / merge) tokens whose height and width count from the next free position; the text after
    it goes on past the largest position used. Feeding the returned position as `start` for the next piece
    gives the same ids as computing the whole dialogue at once: a zoom turn appends without looking back.

    Example: 4 text tokens, an image of 5 x 7 tokens, 5 text tokens: text 0..3, image time 4, height 4..8,
    width 4..10, text 11..15; the next position is 16.

    Args:
      tokens: ids of one piece; every image is a run of `image_token_id`, complete within the piece.
      grids: (t, h, w) of the images in order, in patches.
      start: position of the first token.

    Raises:
      ValueError: the image tokens do not match the grids, or a grid has more than one frame (video).
    """
    positions = np.zeros((3, len(tokens)), np.int32)
    is_image = tokens == image_token_id
    index, position, remaining = 0, start, list(grids)
    while index < len(tokens):
        if is_image[index]:
            if not remaining:
                raise ValueError(_mismatch(is_image, grids, merge))
            height, width = _merged_grid(remaining.pop(0), merge)
            end = index + height * width
            if end > len(tokens) or not is_image[index:end].all():
                raise ValueError(_mismatch(is_image, grids, merge))
            rows, columns = np.divmod(np.arange(height * width), width)
            positions[:, index:end] = position + np.stack([np.zeros_like(rows), rows, columns])
            position += max(height, width)
        else:
            following = np.flatnonzero(is_image[index:])
            end = index + int(following[0]) if len(following) else len(tokens)
            positions[:, index:end] = position + np.arange(end - index)
            position += end - index
        index = end
    if remaining:
        raise ValueError(_mismatch(is_image, grids, merge))
    return positions, position


def _merged_grid(grid: tuple[int, int, int], merge: int) -> tuple[int, int]:
    frames, height, width = grid
    if frames != 1:
        raise ValueError(
            f"grid {tuple(grid)} has {frames} frames: video is not supported; give each frame as an image of its own"
        )
    return height // merge, width // merge


def _mismatch(is_image: np.ndarray, grids: Sequence[tuple[int, int, int]], merge: int) -> str:
    wanted = [h * w // merge**2 for _, h, w in grids]
    return (
        f"the tokens hold {int(is_image.sum())} image tokens but the {len(wanted)} images need "
        f"{sum(wanted)} ({wanted}), each in one unbroken run; expand one placeholder per merged patch of each image"
    )
