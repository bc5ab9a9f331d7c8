"""Operations of one step of policy gradients: what a job needs at least, and what calls of given shapes compute.

The counts of a job are those of the roofline: with every sample on its own, with shared work done once, and lean. A
multiply and an add count as two; see `qwen25vl.flops`.
"""

import dataclasses
import math

from vigorl_jax.qwen25vl import flops
from vigorl_jax.qwen25vl.attention import causal_blocks
from vigorl_jax.qwen25vl.config import Config, TextConfig, VisionConfig
from vigorl_jax.qwen25vl.patch_layout import Grid, tile_slots


@dataclasses.dataclass(frozen=True)
class Job:
    """The episodes of one step, all alike.

    Attributes:
      examples, group: groups, and episodes of each.
      image: grid of the example's image, in patches.
      crops: grids of the crops of an episode.
      prompt_tokens: text of the opening.
      sampled_tokens: of an episode, all turns together.
    """

    examples: int
    group: int
    image: Grid
    crops: tuple[Grid, ...]
    prompt_tokens: int
    sampled_tokens: int

    @property
    def episodes(self) -> int:
        """Of all groups."""
        return self.examples * self.group

    def opening(self, config: VisionConfig) -> int:
        """Tokens that a group shares: its image and the prompt."""
        return _tokens([self.image], config) + self.prompt_tokens

    def tokens(self, config: VisionConfig) -> int:
        """Tokens of an episode."""
        return self.opening(config) + _tokens(self.crops, config) + self.sampled_tokens


# Multi-turn visual search: an image of 2.0 megapixels and three crops of 672 x 672.
VISUAL_SEARCH = Job(128, 8, (1, 102, 100), ((1, 48, 48),) * 3, prompt_tokens=250, sampled_tokens=600)


def naive(config: Config, job: Job) -> int:
    """Roll out without sharing, log-probs of the old and of the reference policy, update; the tower in all four.

    Visual search at the 3B shape: 301e15.
    """
    rows = job.episodes * flops.text_flops(config.text, job.tokens(config.vision))
    return rows + 4 * job.episodes * _tower(config, job) + 5 * _forward(config, job)


def shared(config: Config, job: Job) -> int:
    """The same passes, with images encoded once and prompts read once for a group: 197e15."""
    return _roll_out(config, job) + 5 * _forward(config, job)


def lean(config: Config, job: Job) -> int:
    """No pass but roll out and update: the sampler's own log-probs, one update, no reference: 130e15."""
    return _roll_out(config, job) + 3 * _forward(config, job)


def tower_call(config: VisionConfig, rows: int, slots: int) -> int:
    """The tower on a bucket (rows, slots), padding and tiles that windows share included."""
    patches, width = rows * slots, config.width
    full_blocks = len([i for i in config.full_attention_blocks if i < config.depth])
    block = 4 * width**2 + 3 * width * config.mlp_width
    joined = width * config.spatial_merge_size**2
    linear = patches * (config.patch_values * width + config.depth * block)
    merger = patches // config.spatial_merge_size**2 * (joined**2 + joined * config.out_width)
    keys = full_blocks * slots + (config.depth - full_blocks) * tile_slots(config)
    return 2 * (linear + merger + 2 * width * patches * keys)


def text_call(config: TextConfig, rows: int, tokens: int, cached: int = 0) -> int:
    """The decoder layers on padded rows, each token against every key that its block of queries meets.

    cached: keys of each row before the tokens, whether they mean anything or not; with them the tokens are one block.
    """
    queries, keys = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    layer = 2 * config.width * (queries + keys) + 3 * config.width * config.mlp_width
    within = sum((end - start) * end for start, end in causal_blocks(tokens))
    pairs = tokens * (cached + tokens) if cached else within
    return 2 * config.num_layers * rows * (tokens * layer + 2 * queries * pairs)


def update_call(config: TextConfig, rows: int, tokens: int, targets: int) -> int:
    """Forward, and twice that backward, of padded rows with the output head on `targets` tokens of each."""
    return 3 * (text_call(config, rows, tokens) + flops.logits_flops(config, rows * targets))


def _tokens(grids: tuple[Grid, ...] | list[Grid], config: VisionConfig) -> int:
    return sum(map(math.prod, grids)) // config.spatial_merge_size**2


def _tower(config: Config, job: Job) -> int:
    return flops.vision_flops(config.vision, [job.image, *job.crops])


def _forward(config: Config, job: Job) -> int:
    """One pass over all episodes with logits of what was sampled."""
    row = flops.text_flops(config.text, job.tokens(config.vision))
    return job.episodes * (row + flops.logits_flops(config.text, job.sampled_tokens))


def _roll_out(config: Config, job: Job) -> int:
    opening = flops.text_flops(config.text, job.opening(config.vision))
    whole = flops.text_flops(config.text, job.tokens(config.vision))
    images = job.examples * flops.vision_flops(config.vision, [job.image])
    crops = job.episodes * flops.vision_flops(config.vision, job.crops)
    return images + crops + job.examples * opening + job.episodes * (whole - opening)
