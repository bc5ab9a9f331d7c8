"""What each sampled token contributes to the policy loss, by the rule that keeps the policy near the one before.

r = policy / old is the ratio of a token's probabilities; A is its advantage. Where r = 1 the gradient of every
surrogate is that of REINFORCE, -A grad log policy.
"""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from vigorl_jax.array_typing import Array
from vigorl_jax.training.aggregation import episode_sizes, episode_sums, to_tokens
from vigorl_jax.training.batch import Targets, Values

# Ratios are bounded at e^20 = 5e8 and its inverse, far outside of every clip: beyond, infinities would make NaN.
MAX_LOG_RATIO = 20.0


class Contributions(NamedTuple):
    """Losses of tokens, and which tokens each clip has cut off from the gradient.

    losses: the smaller, the better  # [B, T]
    clipped: by name of the clip  # bool [B, T] each
    """

    losses: Values
    clipped: Mapping[str, Array]


class Surrogate(Protocol):
    """A rule for the policy loss; frozen dataclasses, so that a jitted update may close over them."""

    def __call__(self, log_probs: Values, old: Values, targets: Targets) -> Contributions:
        """Of log-probs under the policy, the only ones with a gradient, and under the policy before the update."""


@dataclasses.dataclass(frozen=True)
class ClippedRatio:
    """max(-A r, -A clip(r, 1 - low, 1 + high)), where A < 0 at most -A dual: PPO's clip, per token.

    Defaults are those of the official code. DAPO calls low < high "clip-higher" (arXiv:2503.14476, eq. 8); the dual
    clip is of arXiv:1912.09729.

    A = 1: r = 1.5 gives -1.28 and no gradient, r = 0.5 gives -0.5. A = -1: r = 0.5 gives 0.8, r = 5 gives 3.

    Attributes:
      low, high: how far below and above 1 the ratio may go.
      dual: bound on the ratio where the advantage is negative; None is off.
    """

    low: float = 0.2
    high: float = 0.28
    dual: float | None = 3.0

    def __post_init__(self) -> None:
        """Refuses clips that leave no room for a ratio of 1."""
        _check_clip(self)
        if self.dual is not None and self.dual <= 1 + self.high:
            raise ValueError(
                f"ClippedRatio.dual is {self.dual}; give more than 1 + high = {1 + self.high}, or None"
            )

    def __call__(self, log_probs: Values, old: Values, targets: Targets) -> Contributions:
        """See `Surrogate`."""
        return _clipped(log_ratio(log_probs, old), targets.advantages, self.low, self.high, self.dual)


@dataclasses.dataclass(frozen=True)
class SequenceRatio:
    """PPO's clip on s, the geometric mean of an episode's ratios: GSPO (arXiv:2507.18071, eq. 5-7).

    Every token of an episode contributes the episode's loss: with `sequence_mean` this is the printed objective.
    Defaults are those of the paper's experiments.

    Attributes:
      low, high: how far below and above 1 the mean ratio may go.
    """

    low: float = 3e-4
    high: float = 4e-4

    def __post_init__(self) -> None:
        """Refuses clips that leave no room for a ratio of 1."""
        _check_clip(self)

    def __call__(self, log_probs: Values, old: Values, targets: Targets) -> Contributions:
        """See `Surrogate`."""
        sums = episode_sums(log_ratio(log_probs, old), targets)
        means = to_tokens(sums / jnp.maximum(episode_sizes(targets), 1.0), targets)
        return _clipped(means, targets.advantages, self.low, self.high, None)


@dataclasses.dataclass(frozen=True)
class ClippedWeight:
    """-A sg(clip(r, 1 - low, 1 + high)) log policy: CISPO (arXiv:2506.13585, eq. 4-5).

    No token loses its gradient: the ratio is only a weight, and the weight is clipped. As in the paper there is no
    lower bound by default; the paper does not print its upper one.

    Attributes:
      low, high: how far below and above 1 the weight may go; low = 1 is no bound.
    """

    high: float
    low: float = 1.0

    def __post_init__(self) -> None:
        """Refuses clips that leave no room for a weight of 1."""
        _check_clip(self)

    def __call__(self, log_probs: Values, old: Values, targets: Targets) -> Contributions:
        """See `Surrogate`."""
        ratio = jnp.exp(jax.lax.stop_gradient(log_ratio(log_probs, old)))
        weight = jnp.clip(ratio, 1 - self.low, 1 + self.high)
        clipped = {"high": ratio > 1 + self.high, "low": ratio < 1 - self.low}
        return Contributions(-targets.advantages * weight * log_probs, clipped)


def log_ratio(log_probs: Values, old: Values) -> Values:
    """log r, bounded so that exp of it is a number."""
    return jnp.clip(log_probs - old, -MAX_LOG_RATIO, MAX_LOG_RATIO)


def importance_weights(old: Values, sampler_log_probs: Values, cap: float) -> Values:
    """min(old / sampler, cap), without a gradient: corrects for a sampler whose numerics or parameters differ.

    Truncated importance sampling: a factor of 2 with a cap of 2 is kept, one of 5 becomes 2.
    """
    weights = jnp.minimum(jnp.exp(log_ratio(old, sampler_log_probs)), cap)
    return jax.lax.stop_gradient(weights)


def _clipped(log_r: Values, advantages: Values, low: float, high: float, dual: float | None) -> Contributions:
    # Clipped as a logarithm, as in the official code: log1p(-1) = -inf is no bound.
    within = jnp.exp(jnp.clip(log_r, jnp.log1p(-low), jnp.log1p(high)))
    free_loss, bounded_loss = -advantages * jnp.exp(log_r), -advantages * within
    losses = jnp.maximum(free_loss, bounded_loss)
    cut = bounded_loss > free_loss
    clipped = {"high": cut & (advantages > 0), "low": cut & (advantages < 0)}
    if dual is not None:
        clipped["dual"] = (advantages < 0) & (losses > -advantages * dual)
        losses = jnp.where(clipped["dual"], -advantages * dual, losses)
    return Contributions(losses, clipped)


def _check_clip(surrogate: "ClippedRatio | SequenceRatio | ClippedWeight") -> None:
    if not (0 <= surrogate.low <= 1 and surrogate.high >= 0):
        raise ValueError(
            f"{type(surrogate).__name__} clips at 1 - {surrogate.low} and 1 + {surrogate.high}; "
            "give low within 0 and 1, and high of at least 0"
        )
