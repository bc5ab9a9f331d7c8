"""From episodes to the arrays that the learner takes: one episode a row, or several packed into each.

The same batches serve supervised learning (advantage 1) and policy gradients. Only sampled tokens are scored, so that
the output head runs on these alone: `Targets` names each with the hidden state that predicts it. Further letters of
the legend: T targets of a row, E episodes of a row.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import jax
import numpy as np

from vigorl_jax.array_typing import Array, Float, Int
from vigorl_jax.buckets import bucket
from vigorl_jax.qwen25vl.config import Config
from vigorl_jax.qwen25vl.patch_layout import PADDING
from vigorl_jax.qwen25vl.rope import dialogue_positions
from vigorl_jax.reasoning.episode import Episode
from vigorl_jax.training.packing import Row, deal, packed_rows, padded_rows

Values = Float[Array, "B T"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Targets:
    """The sampled tokens of a batch, row by row, padded on the right.

    Attributes:
      tokens: their ids  # [B, T]
      sources: place in the row of the token before, whose hidden state predicts it  # [B, T]
      mask: False on padding; losses and metrics count what is True  # [B, T]
      episodes: number of the token's episode within its row, from 0  # [B, T]
      advantages: of the token's episode; 1 for supervised learning  # float32 [B, T]
      sampler_log_probs: as the sampler reported them, 0 where it did not  # float32 [B, T]
      row_episodes: E, the most episodes that a row may hold.
    """

    tokens: Int[Array, "B T"]
    sources: Int[Array, "B T"]
    mask: Array
    episodes: Int[Array, "B T"]
    advantages: Values
    sampler_log_probs: Values
    row_episodes: int = dataclasses.field(metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
    """Rows of episodes, padded on the right.

    Attributes:
      tokens: ids, 0 on padding  # [B, L]
      positions: M-RoPE ids; every episode counts from 0  # [3, B, L]
      segments: number of the token's episode within its row, PADDING behind them; None for one episode a row  # [B, L]
      image_slots: row of the image embeddings that stands at the token, PADDING where it is text  # [B, L]
      targets: what is learned.
    """

    tokens: Int[Array, "B L"]
    positions: Int[Array, "3 B L"]
    segments: Int[Array, "B L"] | None
    image_slots: Int[Array, "B L"]
    targets: Targets


class Slots(Protocol):
    """Where the images of episodes lie among the embeddings that the learner is given, an `image_table`."""

    def slots(self, episode: Episode) -> np.ndarray:
        """Row of the embeddings for each image token of the episode, in order."""


class BatchShape(NamedTuple):
    """Sizes of a batch's rows: length L, targets T, row_episodes E."""

    length: int
    targets: int
    row_episodes: int


def collate(
    episodes: Sequence[Episode],
    images: Slots,
    config: Config,
    *,
    advantages: Sequence[float] | None = None,
    count: int = 1,
    row_multiple: int = 1,
    shape: BatchShape | None = None,
) -> list[Batch]:
    """Micro-batches of one episode a row, as long as the bucket of the longest; see `pack`."""
    rows = padded_rows(len(episodes))
    shape = shape or batch_shape(episodes)
    batches = _batches(episodes, rows, shape, images, config, advantages, count, row_multiple)
    return [dataclasses.replace(batch, segments=None) for batch in batches]


def pack(
    episodes: Sequence[Episode],
    images: Slots,
    config: Config,
    *,
    length: int,
    advantages: Sequence[float] | None = None,
    count: int = 1,
    row_multiple: int = 1,
    shape: BatchShape | None = None,
) -> list[Batch]:
    """Micro-batches of rows that hold as many episodes as fit.

    Args:
      episodes: what is learned.
      images: a table of their images, and perhaps of others'.
      config: the model's.
      length: tokens of a row.
      advantages: one for each episode; None gives 1, for supervised learning.
      count: micro-batches; they have equal shapes, so that they share one compiled update.
      row_multiple: each has a multiple of so many rows: the devices that share them.
      shape: at least `batch_shape` of these episodes, which it is by default.

    Raises:
      ValueError: nothing to learn, an episode longer than a row, one whose image tokens do not match its images, or,
        where advantages are given, one without log-probs or a number of advantages that is not that of the episodes.
    """
    rows = packed_rows([episode.num_tokens for episode in episodes], length)
    shape = shape or batch_shape(episodes, length)
    return _batches(episodes, rows, shape, images, config, advantages, count, row_multiple)


def batch_shape(episodes: Sequence[Episode], length: int | None = None) -> BatchShape:
    """Bucketed sizes of the rows that `pack` makes of episodes, or `collate` where no length is given."""
    lengths = [episode.num_tokens for episode in episodes]
    rows = padded_rows(len(episodes)) if length is None else packed_rows(lengths, length)
    scored = [int(episode.mask.sum()) for episode in episodes]
    return BatchShape(
        length or bucket(max(lengths, default=1)),
        bucket(max(1, *(sum(scored[i] for i in row) for row in rows))) if rows else 1,
        bucket(max(map(len, rows), default=1)),
    )


def _batches(
    episodes: Sequence[Episode],
    rows: Sequence[Row],
    shape: BatchShape,
    images: Slots,
    config: Config,
    advantages: Sequence[float] | None,
    count: int,
    row_multiple: int,
) -> list[Batch]:
    if not episodes:
        raise ValueError("a batch of no episodes; skip the update where none is left to learn from")
    if advantages is None:
        advantages = [1.0] * len(episodes)
    else:
        _check_rated(episodes, advantages)
    return [
        _fill(episodes, micro, shape, images, config, advantages) for micro in deal(rows, count, row_multiple)
    ]


def _check_rated(episodes: Sequence[Episode], advantages: Sequence[float]) -> None:
    if len(advantages) != len(episodes):
        raise ValueError(f"{len(advantages)} advantages for {len(episodes)} episodes; give one for each")
    for episode in episodes:
        if any(len(turn.log_probs) != turn.num_tokens for turn in episode.turns):
            raise ValueError(
                f"episode {episode.number} on {episode.example.id!r} lacks log-probs of what was sampled; roll it out "
                "with a sampler that reports them, or learn from it without advantages"
            )


def _fill(
    episodes: Sequence[Episode],
    rows: Sequence[Row],
    shape: BatchShape,
    images: Slots,
    config: Config,
    advantages: Sequence[float],
) -> Batch:
    tokens = np.zeros((len(rows), shape.length), np.int32)
    positions = np.zeros((3, *tokens.shape), np.int32)
    segments = np.full_like(tokens, PADDING)
    image_slots = np.full_like(tokens, PADDING)
    targets = _no_targets(len(rows), shape.targets, shape.row_episodes)
    for b, row in enumerate(rows):
        start = first = 0
        for number, index in enumerate(row):
            episode = episodes[index]
            here = slice(start, start + episode.num_tokens)
            tokens[b, here], segments[b, here] = episode.token_ids, number
            positions[:, b, here] = _positions(episode, config)
            image_slots[b, here][episode.token_ids == config.image_token_id] = images.slots(episode)
            places = np.flatnonzero(episode.mask)
            there = b, slice(first, first + len(places))
            targets.tokens[there], targets.sources[there] = episode.token_ids[places], start + places - 1
            targets.mask[there], targets.episodes[there] = True, number
            targets.advantages[there] = advantages[index]
            targets.sampler_log_probs[there] = episode.log_probs[places]
            start, first = here.stop, there[1].stop
    return Batch(tokens, positions, segments, image_slots, targets)


def _no_targets(rows: int, targets: int, row_episodes: int) -> Targets:
    def zeros(dtype: type) -> np.ndarray:
        return np.zeros((rows, targets), dtype)

    return Targets(
        tokens=zeros(np.int32),
        sources=zeros(np.int32),
        mask=zeros(np.bool_),
        episodes=zeros(np.int32),
        advantages=zeros(np.float32),
        sampler_log_probs=zeros(np.float32),
        row_episodes=row_episodes,
    )


def _positions(episode: Episode, config: Config) -> np.ndarray:
    grids = [view.patches.grids[0] for view in episode.views]
    try:
        positions, _ = dialogue_positions(
            episode.token_ids,
            grids,
            image_token_id=config.image_token_id,
            merge=config.vision.spatial_merge_size,
        )
    except ValueError as error:
        raise ValueError(f"episode {episode.number} on {episode.example.id!r}: {error}") from error
    return positions
