"""A question about images as our processing sees it: what the network takes, before any padding."""

import dataclasses
import os
from collections.abc import Sequence

import numpy as np

from vigorl_jax.processing import chat, images, patches
from vigorl_jax.processing.settings import ImageSettings
from vigorl_jax.processing.tokenizer import Tokenizer
from vigorl_jax.qwen25vl.patch_layout import Grid


@dataclasses.dataclass(frozen=True)
class Question:
    """One user turn, images first, and the beginning of the reply: ids [L], patches [P, pixels], grids (t, h, w)."""

    tokens: np.ndarray
    patches: np.ndarray
    grids: list[Grid]


def question(model_dir: str | os.PathLike[str], pictures: Sequence[np.ndarray], text: str) -> Question:
    """The question through our tokenizer, chat template and image settings; pictures are uint8 RGB [H, W, 3]."""
    settings, tokenizer = ImageSettings.from_model_dir(model_dir), Tokenizer.load(model_dir)
    parts = [images.image_patches(images.to_device(picture), settings) for picture in pictures]
    grids = [grid for part in parts for grid in part.grids]
    slots = [chat.ImageSlot(settings.num_tokens(grid)) for grid in grids]
    tokens = np.array(chat.open_conversation(tokenizer, [*slots, text]), np.int32)
    if not parts:
        return Question(tokens, np.zeros((0, 0), np.float32), grids)
    packed = patches.pack_patches(parts)
    return Question(tokens, np.asarray(patches.normalise(packed, settings))[: packed.count], grids)
