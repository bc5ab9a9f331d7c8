"""From rows of token ids and image grids to the padded arrays that the model takes."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from vigorl_jax.buckets import bucket
from vigorl_jax.qwen25vl.config import Config
from vigorl_jax.qwen25vl.patch_layout import PADDING, Grid, PatchLayout
from vigorl_jax.qwen25vl.rope import dialogue_positions


@dataclasses.dataclass(frozen=True)
class TextInputs:
    """Right-padded rows on the host.

    Attributes:
      tokens: token ids, 0 behind the end (causal attention never looks there)  # [B, L]
      positions: M-RoPE ids, 0 behind the end  # [3, B, L]
      image_slots: row of the vision tower's output that stands at the token, PADDING where it is text  # [B, L]
      lengths: tokens of each row  # [B]
    """

    tokens: np.ndarray
    positions: np.ndarray
    image_slots: np.ndarray
    lengths: np.ndarray


def text_inputs(
    rows: Sequence[tuple[np.ndarray, Sequence[Grid]]],
    config: Config,
    layout: PatchLayout | None = None,
    *,
    length: int | None = None,
) -> TextInputs:
    """Pads rows of (token ids, grids of the row's images in order) to `length`, or to the bucket of the longest.

    layout: of all images, row after row; None when no row has an image.

    Raises:
      ValueError: a row is longer than `length`, or its image tokens do not match its grids.
    """
    longest = max(len(tokens) for tokens, _ in rows)
    length = length or bucket(longest)
    if longest > length:
        raise ValueError(f"a row of {longest} tokens does not fit the length {length}; give a larger one")
    tokens = np.zeros((len(rows), length), np.int32)
    positions = np.zeros((3, len(rows), length), np.int32)
    image_slots = np.full((len(rows), length), PADDING, np.int32)
    next_image = 0
    for b, (row, grids) in enumerate(rows):
        n = len(row)
        tokens[b, :n] = row
        positions[:, b, :n], _ = dialogue_positions(
            tokens[b, :n], grids, image_token_id=config.image_token_id, merge=config.vision.spatial_merge_size
        )
        if grids:
            slots = layout.token_slots[next_image : next_image + len(grids)]
            image_slots[b, :n][tokens[b, :n] == config.image_token_id] = np.concatenate(slots)
            next_image += len(grids)
    return TextInputs(tokens, positions, image_slots, np.array([len(row) for row, _ in rows], np.int32))
