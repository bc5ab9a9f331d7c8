"""From losses of tokens to one loss, with the division put off.

A sum and its weight add up over micro-batches, and are divided once at the end: so neither the number of micro-batches
nor how tokens fall into them changes a gradient. Dividing in each micro-batch, as the official code does, makes a
token among few weigh more than one among many.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from vigorl_jax.array_typing import Array, Float, typed
from vigorl_jax.training.batch import Targets, Values


class Mean(NamedTuple):
    """A mean before its division; add totals and weights of micro-batches with `jax.tree.map(jnp.add, ...)`."""

    total: Float[Array, ""]
    weight: Float[Array, ""]

    @property
    def value(self) -> Array:
        """total / weight; 0 where nothing was counted."""
        return self.total / jnp.where(self.weight == 0, 1.0, self.weight)


Aggregate = Callable[[Values, Targets], Mean]


@typed
def token_mean(values: Values, targets: Targets) -> Mean:
    """Every counted token weighs the same (DAPO, arXiv:2503.14476; the official code)."""
    return Mean(jnp.sum(jnp.where(targets.mask, values, 0.0)), jnp.sum(targets.mask, dtype=jnp.float32))


@typed
def sequence_mean(values: Values, targets: Targets) -> Mean:
    """Every episode weighs the same, and within it every token (GRPO as first printed, arXiv:2402.03300, eq. 3)."""
    means = episode_sums(values, targets) / jnp.maximum(episode_sizes(targets), 1.0)
    return Mean(jnp.sum(means), _num_episodes(targets))


@dataclasses.dataclass(frozen=True)
class ConstantLength:
    """Sums over episodes, divided by one length for all: Dr. GRPO (arXiv:2503.20783).

    Attributes:
      length: the most tokens that an episode may sample, say.
    """

    length: int

    def __post_init__(self) -> None:
        """Refuses lengths that cannot divide."""
        if self.length < 1:
            raise ValueError(
                f"ConstantLength of {self.length}; give the most tokens that an episode may sample"
            )

    def __call__(self, values: Values, targets: Targets) -> Mean:
        """Of the values of one micro-batch."""
        return Mean(token_mean(values, targets).total / self.length, _num_episodes(targets))


def episode_sums(values: Values, targets: Targets) -> Float[Array, "B E"]:
    """Sum over the counted tokens of each episode of each row."""
    # A masked sum instead of a matrix product, which accelerators would round to fewer bits.
    return jnp.sum(jnp.where(_belongs(targets), values[..., None], 0.0), axis=1)


def episode_sizes(targets: Targets) -> Float[Array, "B E"]:
    """Counted tokens of each episode of each row."""
    return jnp.sum(_belongs(targets), axis=1, dtype=jnp.float32)


def to_tokens(values: Float[Array, "B E"], targets: Targets) -> Values:
    """The value of each counted token's episode, 0 on padding."""
    return jnp.sum(jnp.where(_belongs(targets), values[:, None], 0.0), axis=2)


def _belongs(targets: Targets) -> Array:
    """Whether a counted token is of an episode  # [B, T, E]"""
    return (targets.episodes[..., None] == jnp.arange(targets.row_episodes)) & targets.mask[..., None]


def _num_episodes(targets: Targets) -> Array:
    return jnp.sum(episode_sizes(targets) > 0, dtype=jnp.float32)
