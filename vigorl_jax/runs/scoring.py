"""The rewards of what was rolled out, with one message where a reward cannot be given."""

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence

from vigorl_jax.processing.tokenizer import Tokenizer
from vigorl_jax.reasoning import episode_rewards, reward_parts, rewards
from vigorl_jax.reasoning.calls import CallForm
from vigorl_jax.reasoning.episode import Episode
from vigorl_jax.reasoning.prompts import Condition
from vigorl_jax.runs.settings import RewardSettings

Score = Callable[[Episode], Episode]


class RewardError(ValueError):
    """A reward that cannot be learned from; the message names the reward and the episode."""


class Scorer:
    """Scores groups of finished episodes.

    Args:
      settings: what is rewarded.
      condition: how the tasks are done.
      tasks: names of the tasks that occur.
      tokenizer: the model's.
      form: layout of the tool calls.

    Raises:
      ValueError: an unknown reward, or a user's file that fails to load.
      FileNotFoundError: there is no such file.
    """

    def __init__(
        self,
        settings: RewardSettings,
        condition: Condition,
        tasks: Collection[str],
        tokenizer: Tokenizer,
        form: CallForm,
    ):
        names = {task: settings.reward or rewards.name_for(task, condition) for task in tasks}
        self._names = names
        self._scores: Mapping[str, Score] = {
            task: episode_rewards.scorer(tokenizer, reward=name, preset=settings.reward_preset, form=form)
            for task, name in names.items()
        }
        self._keeps_bonus = settings.diversity_bonus or settings.reward not in (None, *rewards.REWARDS)

    def __call__(self, groups: Sequence[Sequence[Episode]]) -> list[list[Episode]]:
        """The groups with the rewards of their episodes.

        Raises:
          RewardError: a reward that fails, lacks parts, or is not a finite number.
        """
        return [[self._score(episode) for episode in group] for group in groups]

    def _score(self, episode: Episode) -> Episode:
        try:
            scored = self._scores[episode.example.task](episode)
        # A user's own function may raise anything.
        except Exception as error:
            raise RewardError(
                f"the reward {self._names[episode.example.task]} of episode {episode.number} on "
                f"{episode.example.id!r} cannot be used: {reward_parts.problem(error)}"
            ) from error
        if self._keeps_bonus:
            return scored
        return dataclasses.replace(scored, reward=reward_parts.without_diversity(scored.reward))


def metrics(episodes: Sequence[Episode]) -> dict[str, float]:
    """Means of the reward parts, and the spread of the overall reward, under "reward/"."""
    names = sorted({name for episode in episodes for name in episode.reward})
    means = {
        f"reward/{name}": sum(episode.reward.get(name, 0.0) for episode in episodes) / len(episodes)
        for name in names
    }
    overall = [episode.reward["overall"] for episode in episodes]
    return {**means, "reward/overall_min": min(overall), "reward/overall_max": max(overall)}
