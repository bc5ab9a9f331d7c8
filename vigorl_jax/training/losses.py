"""The losses of supervised learning and of group-relative policy gradients, and the published objectives by name.

All is float32 on [B, T] arrays of target tokens; the network has been left behind. What padding holds, NaN included,
reaches neither a loss nor a gradient.
"""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from vigorl_jax.array_typing import Array
from vigorl_jax.training import divergences
from vigorl_jax.training.aggregation import Aggregate, ConstantLength, Mean, sequence_mean, token_mean
from vigorl_jax.training.batch import Targets, Values
from vigorl_jax.training.divergences import Divergence
from vigorl_jax.training.logprobs import Scores
from vigorl_jax.training.surrogates import (
    ClippedRatio,
    ClippedWeight,
    SequenceRatio,
    Surrogate,
    importance_weights,
    log_ratio,
)


class Loss(NamedTuple):
    """A loss before its division, and what to log beside it.

    The gradient of a step is the gradient of `objective.total`, added up over micro-batches and divided by the sum of
    `objective.weight`.
    """

    objective: Mean
    metrics: Mapping[str, Mean]


@dataclasses.dataclass(frozen=True)
class Objective:
    """What policy gradients minimise; defaults are those of the official code.

    Attributes:
      surrogate: what a token contributes to the policy loss.
      aggregate: how tokens become one number.
      divergence: estimate of a token's KL to the reference.
      kl_coefficient: its weight; 0 needs no reference.
      importance_cap: the most that `surrogates.importance_weights` may be; None does not correct for the sampler.
    """

    surrogate: Surrogate = dataclasses.field(default_factory=ClippedRatio)
    aggregate: Aggregate = token_mean
    divergence: Divergence = divergences.k3
    kl_coefficient: float = 0.01
    importance_cap: float | None = None

    def __post_init__(self) -> None:
        """Refuses weights below 0."""
        if self.kl_coefficient < 0:
            raise ValueError(f"Objective.kl_coefficient is {self.kl_coefficient}; give at least 0 (off)")
        if self.importance_cap is not None and self.importance_cap <= 0:
            raise ValueError(
                f"Objective.importance_cap is {self.importance_cap}; give more than 0, or None (off)"
            )


def dapo(low: float = 0.2, high: float = 0.28) -> Objective:
    """DAPO (arXiv:2503.14476): clip-higher, token mean, no KL.

    Dynamic sampling is `advantages.has_spread`, overlong handling `soft_overlong` and `is_not_overlong` there.
    """
    return Objective(ClippedRatio(low, high, dual=None), token_mean, kl_coefficient=0.0)


def dr_grpo(length: int, clip: float = 0.2) -> Objective:
    """Dr. GRPO (arXiv:2503.20783): one length divides every episode, no KL; goes with `advantages.centred`."""
    return Objective(ClippedRatio(clip, clip, dual=None), ConstantLength(length), kl_coefficient=0.0)


def gspo(low: float = 3e-4, high: float = 4e-4) -> Objective:
    """GSPO (arXiv:2507.18071): ratio, clip and mean of whole episodes, no KL."""
    return Objective(SequenceRatio(low, high), sequence_mean, kl_coefficient=0.0)


def cispo(high: float) -> Objective:
    """CISPO (arXiv:2506.13585): clipped importance weights, token mean, no KL."""
    return Objective(ClippedWeight(high), token_mean, kl_coefficient=0.0)


def sft_loss(scores: Scores, targets: Targets, aggregate: Aggregate = token_mean) -> Loss:
    """-log policy of every counted token; logs "entropy" too."""
    log_probs = jnp.where(targets.mask, scores.log_probs, 0.0)
    return Loss(aggregate(-log_probs, targets), {"entropy": token_mean(scores.entropies, targets)})


def grpo_loss(
    scores: Scores,
    targets: Targets,
    objective: Objective,
    *,
    old: Values | None = None,
    reference: Values | None = None,
) -> Loss:
    """The policy loss plus the KL term, token by token, aggregated together.

    Args:
      scores: of the policy.
      targets: what was sampled, with advantages.
      objective: what is minimised.
      old: log-probs under the policy before the first update on these episodes. None where this is that update: the
        ratio is then exactly 1. `targets.sampler_log_probs` takes the sampler's word for them.
      reference: log-probs under the reference policy.

    Returns:
      The loss, with the metrics "policy_loss", "entropy", "ratio" (mean policy / old), "clipped/..." (share of tokens),
      "sampler_gap/kl" (KL(sampler || old), k3) and "sampler_gap/abs" (mean |log old - log sampler|), and "kl" (to the
      reference) and "importance_weight" where there are these.

    Raises:
      ValueError: the objective has a KL term and there is no reference.
    """
    if objective.kl_coefficient and reference is None:
        raise ValueError(
            f"kl_coefficient is {objective.kl_coefficient} and there are no reference log-probs; "
            "give them, or set it to 0"
        )

    def counted(values: Array) -> Array:
        """Without what padding holds: selected before it is used, for else a NaN there would reach the gradient."""
        return jnp.where(targets.mask, values, 0.0)

    log_probs = counted(scores.log_probs)
    old = jax.lax.stop_gradient(log_probs if old is None else counted(old))
    targets = dataclasses.replace(targets, advantages=counted(targets.advantages))
    losses, clipped = objective.surrogate(log_probs, old, targets)
    metrics = {
        "entropy": scores.entropies,
        "ratio": jnp.exp(log_ratio(log_probs, old)),
        **{f"clipped/{name}": flags.astype(jnp.float32) for name, flags in clipped.items()},
        **_sampler_gap(old, counted(targets.sampler_log_probs)),
    }
    if objective.importance_cap is not None:
        weights = importance_weights(old, counted(targets.sampler_log_probs), objective.importance_cap)
        losses, metrics["importance_weight"] = losses * weights, weights
    metrics["policy_loss"] = losses
    if reference is not None:
        divergence = objective.divergence(log_probs, jax.lax.stop_gradient(counted(reference)))
        losses, metrics["kl"] = losses + objective.kl_coefficient * divergence, divergence
    logged = {name: token_mean(jax.lax.stop_gradient(values), targets) for name, values in metrics.items()}
    return Loss(objective.aggregate(losses, targets), logged)


def _sampler_gap(old: Values, sampler: Values) -> dict[str, Values]:
    gap = log_ratio(old, sampler)
    return {"sampler_gap/kl": jnp.exp(gap) - 1 - gap, "sampler_gap/abs": jnp.abs(gap)}
