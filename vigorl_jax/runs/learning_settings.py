"""Settings of what is learned from episodes: objective, advantages, schedule, rows."""

import dataclasses
from typing import Literal

from vigorl_jax.runs import contradictions
from vigorl_jax.runs.fields import check, number
from vigorl_jax.training import advantages, divergences, losses, surrogates
from vigorl_jax.training.aggregation import Aggregate, ConstantLength, sequence_mean, token_mean

AGGREGATES: dict[str, Aggregate] = {"token_mean": token_mean, "sequence_mean": sequence_mean}
ESTIMATES: dict[str, advantages.Estimate] = {
    "group_normalised": advantages.group_normalised,
    "centred": advantages.centred,
    "leave_one_out": advantages.leave_one_out,
}
DIVERGENCES: dict[str, divergences.Divergence] = {
    "k1": divergences.k1,
    "k2": divergences.k2,
    "k3": divergences.k3,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ObjectiveSettings:
    """What policy gradients minimise.

    Attributes:
      surrogate: Ratio clipped token by token, ratio of whole episodes, or clipped importance weight.
      clip_low, clip_high: How far below and above 1 the ratio may go.
      clip_dual: Bound on the ratio where the advantage is negative; clipped_ratio only.
      aggregation: How tokens become one number; constant_length divides by the most tokens of an episode.
      kl_coefficient: Weight of the KL to the reference policy.
      kl_estimate: Its estimate, token by token.
      importance_cap: Most that policy / sampler may weigh a token; none does not correct for the sampler.
    """

    surrogate: Literal["clipped_ratio", "sequence_ratio", "clipped_weight"] = "clipped_ratio"
    clip_low: float = number(0.2, least=0, most=1)
    clip_high: float = number(0.28, least=0)
    clip_dual: float | None = number(3.0, above=1)
    aggregation: Literal["token_mean", "sequence_mean", "constant_length"] = "token_mean"
    kl_coefficient: float = number(0.01, least=0)
    kl_estimate: Literal["k1", "k2", "k3"] = "k3"
    importance_cap: float | None = number(None, above=0)

    def __post_init__(self) -> None:
        """Refuses clips that another surrogate would need."""
        check(self)
        contradictions.of_objective(self)

    def objective(self, length: int) -> losses.Objective:
        """The objective; `length` is the most tokens that an episode may sample."""
        makers = {
            "clipped_ratio": lambda: surrogates.ClippedRatio(self.clip_low, self.clip_high, self.clip_dual),
            "sequence_ratio": lambda: surrogates.SequenceRatio(self.clip_low, self.clip_high),
            "clipped_weight": lambda: surrogates.ClippedWeight(self.clip_high, self.clip_low),
        }
        aggregates = {**AGGREGATES, "constant_length": ConstantLength(length)}
        return losses.Objective(
            surrogate=makers[self.surrogate](),
            aggregate=aggregates[self.aggregation],
            divergence=DIVERGENCES[self.kl_estimate],
            kl_coefficient=self.kl_coefficient,
            importance_cap=self.importance_cap,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdvantageSettings:
    """What is learned from which episodes.

    Attributes:
      advantage: From the rewards of a group to its advantages.
      unfinished: Episodes that ran out of turns or tokens are kept, left out of the loss, or of their group too.
      drops_negative: Whether episodes with a negative advantage are left out.
      drops_zero: Whether episodes with an advantage of 0 are left out, of which only the KL term is learned.
      dynamic_sampling: Whether groups of equal rewards are replaced by further ones.
      max_extra_rolls: How often a step rolls out further examples for it, before it goes on with fewer groups.
      overlong: Episodes cut off by a token limit are kept, left out, or penalised near the limit.
      overlong_buffer: Tokens before the limit over which the penalty grows to 1; penalise only.
    """

    advantage: Literal["group_normalised", "centred", "leave_one_out"] = "group_normalised"
    unfinished: Literal["keep", "drop_from_loss", "drop_from_group"] = "keep"
    drops_negative: bool = False
    drops_zero: bool = False
    dynamic_sampling: bool = False
    max_extra_rolls: int = number(3, least=1)
    overlong: Literal["keep", "drop", "penalise"] = "keep"
    overlong_buffer: int | None = number(None, least=1)

    def __post_init__(self) -> None:
        """Refuses a buffer without its penalty, and the other way round."""
        check(self)
        contradictions.of_advantages(self)

    @property
    def estimate(self) -> advantages.Estimate:
        """The function of that name."""
        return ESTIMATES[self.advantage]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScheduleSettings:
    """How the learning rate goes over the updates of a run.

    Attributes:
      schedule: Constant, linear or cosine behind the warm-up.
      warmup_ratio: Share of the updates that the learning rate rises over; none for `warmup_steps`.
    """

    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup_ratio: float | None = number(None, least=0, below=1)

    def __post_init__(self) -> None:
        """Refuses values out of bounds."""
        check(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowSettings:
    """How episodes become rows of a batch.

    Attributes:
      micro_rows: Rows of a micro-batch on each data-parallel device.
      row_length: Tokens of a row that episodes are packed into; none for one episode a row.
      row_targets: Sampled tokens that a row has room for, however few a step has; none for what steps turn out to need,
        each further size of which is compiled.
    """

    micro_rows: int = number(1, least=1)
    row_length: int | None = number(None, least=1)
    row_targets: int | None = number(None, least=1)

    def __post_init__(self) -> None:
        """Refuses values out of bounds."""
        check(self)
