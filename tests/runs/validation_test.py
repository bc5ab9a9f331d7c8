"""Validation: accuracies by data set with their intervals, greedy beside sampled; no model runs."""

import pytest

from vigorl_jax.evaluation.statistics import wilson
from vigorl_jax.runs import validation
from vigorl_jax.runs.episode_settings import ValidationSettings
from vigorl_jax.runs.interrupt import Interrupted
from vigorl_jax.runs.validation import Validator


class _Roller:
    """Greedy answers are right on even examples; of sampled ones, the first of each group."""

    def __init__(self, make_episode):
        self._make, self.asked = make_episode, []

    def open(self, params):
        return params

    def roll(self, sampler, examples, *, step, group_size, temperature, top_p, on_turn):
        on_turn()
        self.asked.append((step, len(examples), group_size, temperature, top_p))

        def reward(example, number):
            return {"accuracy": float(number == 0 if temperature else example % 2 == 0)}

        return [
            [self._make(str(one), number=i, reward=reward(one, i)) for i in range(group_size)]
            for one in examples
        ]

    def score(self, groups):
        return groups


@pytest.fixture
def roller(make_episode):
    return _Roller(make_episode)


def test_each_set_gets_both_accuracies_and_the_mean_counts_sets_equally(roller):
    settings = ValidationSettings(samples=4, temperature=0.5, top_p=0.9)
    metrics, shown = Validator(settings, roller, {"a": range(8), "b": range(1)})("params", 7)
    assert roller.asked[:2] == [(7, 8, 1, 0.0, 0.9), (7, 8, 4, 0.5, 0.9)]
    assert metrics["validation/a/accuracy"] == 0.25
    assert (metrics["validation/a/greedy"], metrics["validation/b/greedy"]) == (0.5, 1.0)
    bounds = metrics["validation/a/greedy_low"], metrics["validation/a/greedy_high"]
    assert bounds == pytest.approx(wilson(0.5, 8))
    assert (metrics["validation/accuracy"], metrics["validation/greedy"]) == (0.25, 0.75)
    assert len(shown) == 9


def test_with_a_temperature_of_zero_episodes_are_rolled_out_once(roller):
    metrics, _ = Validator(ValidationSettings(temperature=0.0), roller, {"a": range(4)})("params", 1)
    assert len(roller.asked) == 1
    assert metrics["validation/a/accuracy"] == metrics["validation/a/greedy"] == 0.5


def test_rewards_outside_of_zero_and_one_count_as_their_nearer_end(make_episode):
    groups = [[make_episode("a", reward={"accuracy": value})] for value in (1.5, -1.0)]
    assert validation.estimate(groups).value == 0.5


def test_a_validation_can_be_given_up(roller):
    def stop():
        raise Interrupted

    with pytest.raises(Interrupted):
        Validator(ValidationSettings(), roller, {"a": range(4)})("params", 1, stop)
