"""What is said of several seeds."""

import pytest

from vigorl_jax.evaluation.statistics import Estimate
from vigorl_jax.runs.tiny_world import outcome
from vigorl_jax.tasks.glyph_levels import LEVEL_1, LEVEL_2


def test_one_seed_keeps_its_interval():
    estimate = Estimate(0.5, 0.4, 0.6, 100)
    assert outcome.over_seeds([estimate]) == estimate


def test_three_seeds_have_students_interval():
    found = outcome.over_seeds([Estimate(value, 0, 1, 100) for value in (0.9, 1.0, 0.95)])
    # 0.05 / sqrt(3) * 4.303 = 0.124; the interval ends at 1.
    assert (found.value, found.low, found.high) == pytest.approx((0.95, 0.826, 1.0), abs=1e-3)
    assert found.examples == 300


def test_guessing_scores_the_mean_over_the_kinds_of_questions():
    assert outcome.chance(LEVEL_1) == 1 / 6
    assert outcome.chance(LEVEL_2) == pytest.approx((1 / 6 + 1 / 2 + 1 / 36) / 3)
