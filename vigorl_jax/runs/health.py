"""Alarms: signs over many steps that a run learns nothing, or the wrong thing."""

import collections
import dataclasses
import math
from collections.abc import Callable, Mapping

from vigorl_jax.runs.fields import check, number

# Means over the first and over the last steps -> whether the run is in trouble.
Test = Callable[[float, float], bool]


@dataclasses.dataclass(frozen=True)
class Rule:
    """One alarm.

    Attributes:
      name: of the alarm; the metric is "health/<name>".
      metric: what is watched, averaged over the window.
      is_trouble: of the mean over the first window of the run and the mean over the last one.
      advice: what it means and what to look at.
    """

    name: str
    metric: str
    is_trouble: Test
    advice: str


@dataclasses.dataclass(frozen=True)
class HealthSettings:
    """Thresholds of the alarms; each compares the mean of the last `window` steps.

    Attributes:
      window: steps.
      zooms_fall_to: alarm below this share of the first window's zooms an episode.
      max_zero_spread: highest share of groups whose episodes all earn the same.
      max_malformed_rise: highest rise of the share of malformed turns over the first window's.
      entropy_fall_to: alarm below this share of the first window's entropy.
      entropy_rise_to: alarm above this multiple of it.
      max_gap: highest mean difference of sampler's and learner's log-probs.
    """

    window: int = number(20, least=1)
    zooms_fall_to: float = number(0.1, least=0, below=1)
    max_zero_spread: float = number(0.9, least=0, most=1)
    max_malformed_rise: float = number(0.2, above=0, most=1)
    entropy_fall_to: float = number(0.1, least=0, below=1)
    entropy_rise_to: float = number(3.0, above=1)
    max_gap: float = number(0.05, above=0)

    def __post_init__(self) -> None:
        """Refuses values out of bounds."""
        check(self)


def rules(settings: HealthSettings) -> tuple[Rule, ...]:
    """The alarms of roll-outs and updates. A rule whose metric a run does not log stays silent."""
    return (
        Rule(
            "zooms_vanish",
            "zooms_per_episode",
            lambda first, last: first > 0 and last <= settings.zooms_fall_to * first,
            "the policy stops zooming: look at the episodes, at the format reward and the diversity bonus",
        ),
        Rule(
            "no_spread",
            "zero_spread_share",
            lambda first, last: last > settings.max_zero_spread,
            "nearly all groups earn one reward and teach nothing: the examples are too easy or too hard",
        ),
        Rule(
            "malformed_rises",
            "malformed_share",
            lambda first, last: last > first + settings.max_malformed_rise,
            "more and more turns do not parse: lower the learning rate or raise the KL term",
        ),
        Rule(
            "entropy_collapses",
            "entropy",
            lambda first, last: last < settings.entropy_fall_to * first,
            "sampling is close to greedy: raise clip_high, the temperature or the entropy term",
        ),
        Rule(
            "entropy_explodes",
            "entropy",
            lambda first, last: last > settings.entropy_rise_to * first,
            "the policy comes apart: lower the learning rate or raise the KL term",
        ),
        Rule(
            "sampler_gap",
            "sampler_gap/abs",
            lambda first, last: last > settings.max_gap,
            "sampler and learner disagree about the same tokens: check dtypes, or correct with importance weights",
        ),
    )


class Health:
    """Watches the metrics of a run. Fed with the same steps it says the same: a run that goes on replays its log.

    Args:
      rules: the alarms, such as `rules(HealthSettings())`.
      window: steps of the first and the last window.
    """

    def __init__(self, rules: tuple[Rule, ...], window: int):
        self._rules = rules
        self._first: dict[str, list[float]] = collections.defaultdict(list)
        self._last: dict[str, collections.deque] = collections.defaultdict(
            lambda: collections.deque(maxlen=window)
        )
        self._window = window
        self._in_trouble: set[str] = set()

    def observe(self, metrics: Mapping[str, float | None]) -> tuple[dict[str, int], list[str]]:
        """Takes a step's metrics; returns a metric (0 or 1) for each alarm, and warnings of those that begin now.

        Nothing is said before a whole window is there. A number that is missing or not finite is not counted.
        """
        for metric in {rule.metric for rule in self._rules}:
            value = metrics.get(metric)
            if value is not None and math.isfinite(value):
                self._last[metric].append(value)
                if len(self._first[metric]) < self._window:
                    self._first[metric].append(value)
        flags, warnings = {}, []
        for rule in self._rules:
            if len(self._last[rule.metric]) < self._window:
                continue
            first, last = self._mean(self._first[rule.metric]), self._mean(self._last[rule.metric])
            trouble = rule.is_trouble(first, last)
            flags[f"health/{rule.name}"] = int(trouble)
            if trouble and rule.name not in self._in_trouble:
                warnings.append(
                    f"{rule.name}: {rule.metric} is {last:.3g} over {self._window} steps "
                    f"({first:.3g} at first): {rule.advice}"
                )
            (self._in_trouble.add if trouble else self._in_trouble.discard)(rule.name)
        return flags, warnings

    def _mean(self, values) -> float:
        return math.fsum(values) / len(values)
