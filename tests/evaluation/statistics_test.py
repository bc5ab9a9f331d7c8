"""Intervals of accuracies, beside published numbers, a second formula, and their meaning: coverage."""

import numpy as np
import pytest

from vigorl_jax.evaluation.statistics import Estimate, accuracy, wilson


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    # R. Newcombe, "Two-sided confidence intervals for the single proportion" (1998), table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_single_samples_give_the_printed_intervals_of_wilson(right, count, low, high):
    estimate = accuracy([[1.0]] * right + [[0.0]] * (count - right))
    assert estimate.value == pytest.approx(right / count)
    assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=5e-5)
    assert estimate.examples == count


def test_equal_samples_of_an_example_say_no_more_than_one():
    once = [[1.0]] * 8 + [[0.0]] * 2
    assert accuracy([samples * 5 for samples in once]) == accuracy(once)


def test_samples_that_differ_as_if_drawn_anew_count_as_draws():
    # Every example has one right sample of two: more even than chance would make it, so the bound is the tighter one.
    even = accuracy([[1.0, 0.0]] * 50)
    assert even == Estimate(0.5, *wilson(0.5, 50), 50)


def test_the_interval_holds_the_truth_19_times_in_20():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        chances = rng.beta(2, 1, 60)  # of mean 2/3
        estimate = accuracy((rng.random((60, 4)) < chances[:, None]).astype(float).tolist())
        held += estimate.low <= 2 / 3 <= estimate.high
    assert 0.92 <= held / 400 <= 0.98


@pytest.mark.parametrize("outcomes", [[], [[1.0], []], [[1.5]], [[float("nan")]]])
def test_what_is_no_accuracy_is_refused(outcomes):
    with pytest.raises(ValueError, match="give at least one"):
        accuracy(outcomes)


def test_an_estimate_reads_as_a_sentence():
    assert str(accuracy([[1.0]] * 8 + [[0.0]] * 2)) == "0.800 (0.490 to 0.943, n = 10)"
