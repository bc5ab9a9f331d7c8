"""Advantages of the episodes of a group, and which groups and episodes are learned from.

An episode that is not to be learned from is left out before it is batched: it then has neither a policy term nor a KL
term, and costs nothing. So the options of the official code are filters of `Rated`: unfinished episodes leave the loss
with `is_finished` behind `rate`, or the group's statistics too with `counts=is_finished`; masked negative advantages
are `is_not_negative`.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from vigorl_jax.reasoning.episode import Episode, Status

GROUP_EPSILON = 1e-6  # of the official code; keeps groups of nearly equal rewards finite

Rewards = np.ndarray
Estimate = Callable[[Rewards], Rewards]


@dataclasses.dataclass(frozen=True)
class Rated:
    """An episode with its advantage."""

    episode: Episode
    advantage: float


def group_normalised(rewards: Rewards) -> Rewards:
    """(R - mean) / (std + 1e-6) with the unbiased std: GRPO as in the official code (arXiv:2402.03300, 4.1).

    Rewards 1, 1, .5, .5, 0 give .956, .956, -.239, -.239, -1.434. Equal rewards give exactly 0.
    """
    deviations = centred(rewards)
    return deviations / (np.sqrt(np.sum(deviations**2) / (len(deviations) - 1)) + GROUP_EPSILON)


def centred(rewards: Rewards) -> Rewards:
    """R - mean: Dr. GRPO (arXiv:2503.20783), and the advantage that the paper prints (A5.1)."""
    rewards = _checked(rewards)
    # Differences from one reward first: the mean of equal floats is not always that float.
    deviations = rewards - rewards[0]
    return deviations - deviations.mean()


def leave_one_out(rewards: Rewards) -> Rewards:
    """R - mean of the others = G / (G - 1) (R - mean): RLOO (arXiv:2402.14740).

    Rewards 1, 0, 0 give 1, -.5, -.5.
    """
    deviations = centred(rewards)
    return deviations * (len(deviations) / (len(deviations) - 1))


def overall_reward(episode: Episode) -> float:
    """The reward part that is learned from.

    Raises:
      ValueError: the episode is not scored.
    """
    if "overall" not in episode.reward:
        raise ValueError(
            f"episode {episode.number} on {episode.example.id!r} has no reward; score it before it is rated"
        )
    return episode.reward["overall"]


def soft_overlong(sampled_tokens: int, limit: int, buffer: int) -> float:
    """DAPO's penalty for long episodes, to be added to the reward (arXiv:2503.14476, eq. 13).

    0 up to limit - buffer tokens, then falling in a line to -1 at the limit, and -1 beyond: with a limit of 100 and a
    buffer of 20, 80 tokens give 0, 90 give -0.5, 120 give -1.

    Raises:
      ValueError: the buffer is not within 1 and the limit.
    """
    if not 0 < buffer <= limit:
        raise ValueError(f"an overlong buffer of {buffer} tokens; give 1 to the limit, {limit}")
    return float(np.clip((limit - buffer - sampled_tokens) / buffer, -1.0, 0.0))


def has_spread(group: Sequence[Episode], reward: Callable[[Episode], float] = overall_reward) -> bool:
    """Whether rewards within the group differ: DAPO's dynamic sampling keeps these groups and rolls out others anew."""
    return len({reward(episode) for episode in group}) > 1


def rate(
    groups: Sequence[Sequence[Episode]],
    estimate: Estimate,
    *,
    reward: Callable[[Episode], float] = overall_reward,
    counts: Callable[[Episode], bool] = lambda episode: True,
) -> list[Rated]:
    """The episodes of all groups with their advantages.

    Args:
      groups: scored episodes.
      estimate: from the rewards of a group to its advantages.
      reward: of an episode.
      counts: which episodes belong to their group; the others are left out. Groups of which fewer than two are left
        say nothing about what is better, and are left out as a whole.

    Raises:
      ValueError: a group of one episode, or a reward that is not a finite number.
    """
    rated = []
    for group in groups:
        if len(group) < 2:
            raise ValueError(
                f"the group on {group[0].example.id!r} has one episode; an advantage needs at least 2: raise group_size"
            )
        counted = [episode for episode in group if counts(episode)]
        if len(counted) > 1:
            advantages = estimate(np.array([reward(episode) for episode in counted], np.float64))
            rated += [Rated(e, float(a)) for e, a in zip(counted, advantages, strict=True)]
    return rated


def is_finished(episode: Episode) -> bool:
    """Whether the model ended the episode itself; the official code masks those that ran out of turns or tokens."""
    return episode.status in (Status.ANSWERED, Status.MALFORMED)


def is_not_overlong(episode: Episode) -> bool:
    """Whether the episode was not cut off by a token limit: DAPO's overlong filtering."""
    return episode.status is not Status.OUT_OF_TOKENS


def is_not_negative(rated: Rated) -> bool:
    """Whether the advantage is at least 0: what `mask_negative_advantage` of the official code leaves."""
    return rated.advantage >= 0


def _checked(rewards: Rewards) -> Rewards:
    rewards = np.asarray(rewards, np.float64)
    if rewards.ndim != 1 or len(rewards) < 2:
        raise ValueError(
            f"rewards of shape {rewards.shape}; wanted one row of at least 2, a reward an episode"
        )
    if not np.isfinite(rewards).all():
        place = int(np.flatnonzero(~np.isfinite(rewards))[0])
        raise ValueError(f"reward {place} of the group is {rewards[place]}; rewards must be finite numbers")
    return rewards
