"""Which scored episodes are learned from, and with which advantage, as the settings say."""

from collections.abc import Sequence

from vigorl_jax.reasoning.episode import Episode
from vigorl_jax.runs.learning_settings import AdvantageSettings
from vigorl_jax.training import advantages
from vigorl_jax.training.advantages import Rated


class Rating:
    """From groups to rated episodes.

    Args:
      settings: what is learned from which episodes.
      most_tokens: that an episode may sample; the penalty for long episodes ends there.

    Raises:
      ValueError: a penalty that begins before the first token.
    """

    def __init__(self, settings: AdvantageSettings, most_tokens: int):
        self._settings, self._most_tokens = settings, most_tokens
        if settings.overlong == "penalise":
            advantages.soft_overlong(0, most_tokens, settings.overlong_buffer)

    def reward(self, episode: Episode) -> float:
        """What is compared within a group: the overall reward, with the penalty for length where there is one."""
        reward = advantages.overall_reward(episode)
        if self._settings.overlong != "penalise":
            return reward
        sampled = int(episode.mask.sum())
        return reward + advantages.soft_overlong(sampled, self._most_tokens, self._settings.overlong_buffer)

    def has_spread(self, group: Sequence[Episode]) -> bool:
        """Whether the group says what is better."""
        return advantages.has_spread(group, self.reward)

    def __call__(self, groups: Sequence[Sequence[Episode]]) -> list[Rated]:
        """The episodes that are learned from, with their advantages; may be none."""
        settings = self._settings
        counts = advantages.is_finished if settings.unfinished == "drop_from_group" else _always
        rated = advantages.rate(groups, settings.estimate, reward=self.reward, counts=counts)
        return [one for one in rated if self._is_learned(one)]

    def _is_learned(self, rated: Rated) -> bool:
        settings, episode = self._settings, rated.episode
        if settings.unfinished != "keep" and not advantages.is_finished(episode):
            return False
        if settings.overlong == "drop" and not advantages.is_not_overlong(episode):
            return False
        if settings.drops_zero and rated.advantage == 0:
            return False
        return not settings.drops_negative or advantages.is_not_negative(rated)


def _always(episode: Episode) -> bool:
    del episode
    return True
