"""Advantages are the published formulas, and exactly zero where a group says nothing."""

import numpy as np
import pytest
import torch

from vigorl_jax.reasoning.episode import Status
from vigorl_jax.training import advantages
from vigorl_jax.training.advantages import Rated, centred, group_normalised, leave_one_out, rate


def test_group_normalised_advantages_are_those_of_the_official_code():
    published = {
        (1, 1, 0.5, 0.5, 0): [0.956, 0.956, -0.239, -0.239, -1.434],
        (1, *[0.5] * 4): [1.789, *[-0.447] * 4],
    }
    for rewards, expected in published.items():
        np.testing.assert_allclose(group_normalised(np.array(rewards)), expected, atol=5e-4)


def test_estimates_agree_with_pytorch_on_random_groups():
    rng = np.random.default_rng(0)
    for size in (2, 5, 8):
        rewards = torch.from_numpy(rng.random(size))
        normalised = (rewards - rewards.mean()) / (rewards.std() + 1e-6)
        others = torch.stack([torch.cat([rewards[:i], rewards[i + 1 :]]).mean() for i in range(size)])
        np.testing.assert_allclose(group_normalised(rewards.numpy()), normalised, rtol=1e-12)
        np.testing.assert_allclose(centred(rewards.numpy()), rewards - rewards.mean(), rtol=1e-12)
        np.testing.assert_allclose(leave_one_out(rewards.numpy()), rewards - others, rtol=1e-12)


@pytest.mark.parametrize("estimate", [group_normalised, centred, leave_one_out])
@pytest.mark.parametrize("reward", [0.1, 1 / 3, 0.7])
def test_equal_rewards_give_exactly_zero(estimate, reward):
    for size in range(2, 12):
        assert not estimate(np.full(size, reward)).any()


@pytest.mark.parametrize(
    ("rewards", "message"),
    [
        ([1.0, np.nan], "reward 1 of the group is nan; rewards must be finite"),
        ([np.inf, 0.0], "reward 0 of the group is inf"),
        ([1.0], r"rewards of shape \(1,\); wanted one row of at least 2"),
    ],
)
def test_rewards_that_give_no_advantage_are_refused(rewards, message):
    with pytest.raises(ValueError, match=message):
        group_normalised(np.array(rewards))


@pytest.fixture
def group(make_episode):
    """Rewards 1, 0, 0; the last episode ran out of tokens."""
    statuses = [Status.ANSWERED, Status.MALFORMED, Status.OUT_OF_TOKENS]
    return [make_episode(i, [2], status=status, reward=float(i == 0)) for i, status in enumerate(statuses)]


def test_unfinished_episodes_leave_the_loss_but_stay_in_the_baseline(group):
    rated = [r for r in rate([group], centred) if advantages.is_finished(r.episode)]
    assert [r.episode.number for r in rated] == [0, 1]
    np.testing.assert_allclose([r.advantage for r in rated], [2 / 3, -1 / 3])


def test_unfinished_episodes_leave_the_baseline_too(group):
    rated = rate([group], centred, counts=advantages.is_finished)
    assert [(r.episode.number, r.advantage) for r in rated] == [(0, 0.5), (1, -0.5)]
    assert rate([group], centred, counts=lambda e: e.status is Status.ANSWERED) == []


def test_negative_advantages_and_overlong_episodes_can_be_left_out(group):
    rated = rate([group], leave_one_out)
    assert [r.advantage for r in rated] == [1.0, -0.5, -0.5]
    assert [advantages.is_not_negative(r) for r in rated] == [True, False, False]
    assert advantages.is_not_negative(Rated(group[0], 0.0))
    assert [advantages.is_not_overlong(episode) for episode in group] == [True, True, False]


def test_groups_without_spread_are_recognised(group):
    assert advantages.has_spread(group)
    assert not advantages.has_spread(group[1:])


def test_the_overlong_penalty_falls_in_a_line_to_minus_one():
    lengths = [0, 80, 85, 90, 100, 120]
    assert [advantages.soft_overlong(n, 100, 20) for n in lengths] == [0, 0, -0.25, -0.5, -1, -1]
    with pytest.raises(ValueError, match="an overlong buffer of 0 tokens; give 1 to the limit, 100"):
        advantages.soft_overlong(50, 100, 0)


def test_groups_that_cannot_be_rated_are_refused(group, make_episode):
    with pytest.raises(ValueError, match="the group on 'kite' has one episode"):
        rate([group[:1]], centred)
    with pytest.raises(ValueError, match="episode 5 on 'kite' has no reward; score it"):
        rate([[make_episode(5, [2]), *group]], centred)
