"""Which episodes are learned from, in numbers that can be redone."""

import pytest

from vigorl_jax.reasoning.episode import Status
from vigorl_jax.runs.learning_settings import AdvantageSettings
from vigorl_jax.runs.rating import Rating


@pytest.fixture
def group(make_episode):
    """Rewards 1, 0, 0.5; the second ran out of tokens."""
    outcomes = [(1.0, Status.ANSWERED), (0.0, Status.OUT_OF_TOKENS), (0.5, Status.MALFORMED)]
    return [
        make_episode("a", number=number, reward={"overall": reward}, status=status)
        for number, (reward, status) in enumerate(outcomes)
    ]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {0: 0.5, 1: -0.5, 2: 0.0}),
        ({"unfinished": "drop_from_loss"}, {0: 0.5, 2: 0.0}),
        ({"unfinished": "drop_from_group"}, {0: 0.25, 2: -0.25}),
        ({"overlong": "drop"}, {0: 0.5, 2: 0.0}),
        ({"drops_negative": True}, {0: 0.5, 2: 0.0}),
        ({"drops_zero": True}, {0: 0.5, 1: -0.5}),
        # 5 of 10 tokens with a buffer of 8: (10 - 8 - 5) / 8 = -3/8 for each, which leaves the differences.
        ({"overlong": "penalise", "overlong_buffer": 8}, {0: 0.5, 1: -0.5, 2: 0.0}),
    ],
)
def test_settings_choose_episodes_and_advantages(group, changes, expected):
    rating = Rating(AdvantageSettings(advantage="centred", **changes), most_tokens=10)
    assert {one.episode.number: one.advantage for one in rating([group])} == pytest.approx(expected)


def test_the_penalty_counts_sampled_tokens(make_episode):
    settings = AdvantageSettings(overlong="penalise", overlong_buffer=8)
    rating = Rating(settings, most_tokens=10)
    short, long = (make_episode("a", reward={"overall": 1.0}, sampled=count) for count in (2, 6))
    assert rating.reward(short) == 1.0
    assert rating.reward(long) == 0.5
    assert rating.has_spread([short, long])
    assert not rating.has_spread([short, short])


def test_a_buffer_of_more_than_an_episode_samples_is_refused():
    with pytest.raises(ValueError, match="overlong buffer of 20 tokens; give 1 to the limit, 10"):
        Rating(AdvantageSettings(overlong="penalise", overlong_buffer=20), most_tokens=10)
