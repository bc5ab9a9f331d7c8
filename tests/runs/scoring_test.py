"""Rewards of episodes: user's files, messages that name the episode, the ablation without the zoom bonus."""

import pytest

from vigorl_jax.processing.tokenizer import Tokenizer
from vigorl_jax.reasoning import calls, reward_parts
from vigorl_jax.reasoning.prompts import Condition
from vigorl_jax.runs import scoring
from vigorl_jax.runs.episode_settings import RewardSettings
from vigorl_jax.runs.scoring import RewardError, Scorer
from vigorl_jax.testing.byte_tokenizer import byte_tokenizer

TOKENIZER = Tokenizer(byte_tokenizer())


def _scorer(settings, condition=Condition.MULTITURN):
    return Scorer(settings, condition, ["visual_search"], TOKENIZER, calls.POINT_CALL)


def _user(tmp_path, body):
    path = tmp_path / "mine.py"
    path.write_text(f"def compute_score(predict_str, ground_truth):\n    {body}\n")
    return RewardSettings(reward=f"{path}:compute_score", diversity_bonus=False)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ('return {"overall": float("nan"), "format": 1.0, "accuracy": 1.0}', "'overall': nan; every part must be"),
        ('return {"overall": 1.0}', "returned no format, accuracy"),
        ("return [1.0]", "returned list"),
        ("return 1 / 0", "ZeroDivisionError: division by zero"),
    ],
)  # fmt: skip
def test_a_reward_that_cannot_be_used_is_named_with_its_episode(tmp_path, make_episode, body, problem):
    episode = make_episode("kite/7", number=3)
    with pytest.raises(RewardError) as error:
        _scorer(_user(tmp_path, body))([[episode]])
    assert str(error.value).count("\n") == 0
    assert "mine.py:compute_score of episode 3 on 'kite/7' cannot be used" in str(error.value)
    assert problem in str(error.value)


def test_a_users_file_is_loaded_once_for_all_episodes(tmp_path, make_episode):
    marks = tmp_path / "marks"
    settings = _user(tmp_path, 'return {"overall": 0.5, "format": 0.5, "accuracy": 0.5}')
    path = tmp_path / "mine.py"
    path.write_text(f"open({str(marks)!r}, 'a').write('x')\n{path.read_text()}")
    groups = _scorer(settings)([[make_episode("a"), make_episode("b")], [make_episode("c")]])
    assert [[dict(e.reward)["overall"] for e in group] for group in groups] == [[0.5, 0.5], [0.5]]
    assert marks.read_text() == "x"


def test_without_the_bonus_further_zooms_earn_nothing():
    """Three distinct zooms: format 1.4 and 0.6 + 0.4 * 1.4 = 1.16 become 1 and 1."""
    parts = {"overall": 1.16, "format": 1.4, "accuracy": 1.0, "diversity": 0.4}
    reward = reward_parts.without_diversity(parts)
    assert reward["overall"] == pytest.approx(1.0)
    assert reward["format"] == pytest.approx(1.0)


def test_metrics_are_means_of_parts(make_episode):
    rewards = [{"overall": 1.0, "format": 1.0}, {"overall": 0.0, "format": 0.5}]
    found = scoring.metrics([make_episode("a", reward=reward) for reward in rewards])
    assert found == {
        "reward/overall": 0.5, "reward/format": 0.75, "reward/overall_min": 0.0, "reward/overall_max": 1.0
    }  # fmt: skip


def test_unknown_rewards_and_absent_files_are_refused_before_the_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no reward file"):
        _scorer(RewardSettings(reward=f"{tmp_path / 'no.py'}:f", diversity_bonus=False))
