"""What sampling cannot do without: operations, and bytes of weights and caches, and the time of these at peak."""

import dataclasses
import math

import jax
import jax.numpy as jnp

from vigorl_jax.qwen25vl import flops
from vigorl_jax.qwen25vl.config import Config
from vigorl_jax.qwen25vl.model import abstract_params
from vigorl_jax.qwen25vl.patch_layout import Grid

FLOAT32 = 4


@dataclasses.dataclass(frozen=True)
class Floor:
    """Operations, and bytes of float32 that are read."""

    operations: int
    bytes: int

    def milliseconds(self, peak: float, bandwidth: float) -> float:
        """Time of the slower of the two at the machine's own peaks, in operations and bytes a second."""
        return 1e3 * max(self.operations / peak, self.bytes / bandwidth)

    def beside(self, milliseconds: float, peak: float, bandwidth: float) -> dict:
        """The floor in numbers, and how many times as long something took."""
        floor = self.milliseconds(peak, bandwidth)
        figures = {"gflop": self.operations / 1e9, "gbyte": self.bytes / 1e9, "ms": floor}
        return {"floor": figures, "times_the_floor": milliseconds / floor}


def decode_step(config: Config, rows: int, cached: int) -> Floor:
    """One token for each of `rows` rows behind `cached` tokens."""
    operations = rows * (flops.text_flops(config.text, 1, cached) + flops.logits_flops(config.text, 1))
    return Floor(operations, _text_bytes(config) + rows * cached * _cache_bytes(config))


def prefill(config: Config, tokens: int, grid: Grid) -> Floor:
    """One prompt with one image, up to the logits of its first answer."""
    everything = _numbers(abstract_params(config, jnp.float32)) * FLOAT32
    return Floor(flops.forward_flops(config, tokens, [grid], 1), everything)


@dataclasses.dataclass(frozen=True)
class ZoomRollOut:
    """Groups of episodes of two turns: an overview in a prompt, a turn, a crop among given tokens, an answer.

    Attributes:
      groups, group: how many, and episodes of each; these share the prompt.
      overview, crop: grids of the images, in patches.
      prompt, turn, given, answer: tokens; those of images are part of prompt and given.
    """

    groups: int
    group: int
    overview: Grid
    crop: Grid
    prompt: int
    turn: int
    given: int
    answer: int

    def floor(self, config: Config) -> Floor:
        """Every image and every token once; all episodes at each step together, prompts read once a group.

        The first token of a turn comes from what was given before it, so that a turn of n tokens has n - 1 steps.
        """
        episodes, text = self.groups * self.group, config.text
        read, cache = _text_bytes(config), _cache_bytes(config)
        grids = [self.overview] * self.groups + [self.crop] * episodes
        prompt = flops.text_flops(text, self.prompt) + flops.logits_flops(text, 1)
        own = flops.text_flops(text, self.turn + self.given + self.answer - 1, self.prompt)
        scored = flops.logits_flops(text, self.turn + self.answer - 1)
        steps = [*range(1, self.turn), *range(self.turn + self.given, self.turn + self.given + self.answer)]
        cached = sum(self.groups * self.prompt + episodes * before for before in steps)
        return Floor(
            flops.vision_flops(config.vision, grids) + self.groups * prompt + episodes * (own + scored),
            (1 + len(steps)) * read + cached * cache,
        )


def _text_bytes(config: Config) -> int:
    """Of the weights that a step reads."""
    params = abstract_params(config, jnp.float32)
    unread = (
        0 if config.text.tie_embeddings else math.prod(params["language_model"]["embed"]["embedding"].shape)
    )
    return (_numbers({name: part for name, part in params.items() if name != "visual"}) - unread) * FLOAT32


def _cache_bytes(config: Config) -> int:
    """Of the keys and values of one token."""
    return 2 * config.text.num_layers * config.text.num_kv_heads * config.text.head_dim * FLOAT32


def _numbers(params) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
