"""Validation: how often the policy is right on examples it does not learn from, greedily and as sampled."""

from collections.abc import Callable, Mapping, Sequence

import jax

from vigorl_jax.evaluation import statistics
from vigorl_jax.evaluation.statistics import Estimate
from vigorl_jax.qwen25vl.model import Params
from vigorl_jax.reasoning.episode import Episode
from vigorl_jax.runs.episode_settings import ValidationSettings
from vigorl_jax.runs.rollouts import Groups, Roller
from vigorl_jax.sampling.scheduler import EpisodeSampler
from vigorl_jax.tasks.example import Example
from vigorl_jax.training.distributed import process_slice

PREFIX = "validation"
# Episodes of a page for readers; pages hold their images.
SHOWN = 24


def estimate(groups: Sequence[Sequence[Episode]]) -> Estimate:
    """Accuracy of scored groups, each one example; half right answers count half.

    Raises:
      ValueError: no groups.
    """
    return statistics.accuracy([[_accuracy(episode) for episode in group] for group in groups])


class Validator:
    """Validates a policy on some sets of examples.

    Args:
      settings: how much is sampled, and how.
      roller: rolls out and scores; all its groups may have any size.
      sets: by the name of the data set.
    """

    def __init__(self, settings: ValidationSettings, roller: Roller, sets: Mapping[str, Sequence[Example]]):
        self._settings, self._roller, self._sets = settings, roller, sets

    def __call__(
        self, params: Params, step: int, on_turn: Callable[[], None] = lambda: None
    ) -> tuple[dict[str, float], list[Episode]]:
        """Metrics, and some episodes to look at.

        "validation/NAME/accuracy" is of sampled answers, "validation/NAME/greedy" of the likeliest, each with "_low"
        and "_high" (95 %); "validation/accuracy" and "validation/greedy" are means over the data sets. With a
        temperature of 0 there are only the greedy ones, under both names.
        """
        metrics, shown = {}, []
        sampler = self._roller.open(params)
        for name, examples in self._sets.items():
            greedy = self._groups(sampler, examples, step, 1, 0.0, on_turn)
            sampled = greedy
            if self._settings.temperature > 0:
                samples, temperature = self._settings.samples, self._settings.temperature
                sampled = self._groups(sampler, examples, step, samples, temperature, on_turn)
            for kind, groups in (("accuracy", sampled), ("greedy", greedy)):
                metrics |= _named(f"{PREFIX}/{name}/{kind}", estimate(groups))
            metrics[f"{PREFIX}/{name}/zooms"] = _zooms(sampled)
            shown += [episode for group in greedy[:SHOWN] for episode in group]
        for kind in ("accuracy", "greedy"):
            means = [metrics[f"{PREFIX}/{name}/{kind}"] for name in self._sets]
            metrics[f"{PREFIX}/{kind}"] = sum(means) / len(means)
        return metrics, shown[:SHOWN]

    def _groups(
        self,
        sampler: EpisodeSampler,
        examples: Sequence[Example],
        step: int,
        group_size: int,
        temperature: float,
        on_turn: Callable[[], None],
    ) -> Groups:
        # Every process takes an equal share: the last example fills up, and counts once.
        filled = [*examples, *[examples[-1]] * (-len(examples) % jax.process_count())]
        share = self._roller.roll(
            sampler,
            filled[process_slice(len(filled))],
            step=step,
            group_size=group_size,
            temperature=temperature,
            top_p=self._settings.top_p,
            on_turn=on_turn,
        )
        return self._roller.score(share)[: len(examples)]


def _accuracy(episode: Episode) -> float:
    return min(1.0, max(0.0, episode.reward["accuracy"]))


def _named(name: str, found: Estimate) -> dict[str, float]:
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}


def _zooms(groups: Groups) -> float:
    episodes = [episode for group in groups for episode in group]
    return sum(len(episode.crops) for episode in episodes) / len(episodes)
