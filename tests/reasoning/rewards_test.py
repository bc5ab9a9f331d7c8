"""Rewards by name, and users' own rewards from files."""

import textwrap

import numpy as np
import pytest

from vigorl_jax.reasoning import rewards
from vigorl_jax.reasoning.gated_rewards import Context

REPLY = "<think> (1, 2) </think><answer>A</answer>"


@pytest.fixture
def reward_file(tmp_path):
    def write(body, name="mine.py"):
        path = tmp_path / name
        path.write_text(textwrap.dedent(body))
        return path

    return write


def test_every_reward_exists_in_every_preset():
    for preset in rewards.PRESETS:
        for reward in rewards.REWARDS:
            assert rewards.score(reward, "", "red", preset)["overall"] == 0.0


def test_names_say_what_is_graded_and_how():
    assert rewards.name_for("spatial", "grounded") == "text_grounded"
    assert rewards.name_for("visual_search", "multiturn") == "text_multiturn"
    assert rewards.name_for("web_grounding", "vanilla") == "point_vanilla"
    assert rewards.name_for("web_action", "multiturn") == "action_multiturn"
    with pytest.raises(ValueError, match="No reward for condition 'base'"):
        rewards.name_for("spatial", "base")


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="Unknown reward 'text'; choose one of point_vanilla"):
        rewards.score("text", "", "")
    with pytest.raises(ValueError, match="Unknown preset 'strict'; choose one of published, gated"):
        rewards.score("text_vanilla", "", "", "strict")
    with pytest.raises(
        ValueError, match=r"Unknown reward 'text'; give one of point_vanilla.* or file.py:function"
    ):
        rewards.load("text")
    with pytest.raises(ValueError, match="Unknown preset 'strict'"):
        rewards.load("text_vanilla", preset="strict")


def test_a_loaded_reward_of_ours_keeps_its_options():
    context = Context(choices=("left", "right"))
    assert rewards.load("text_grounded")(REPLY, "left")["overall"] == 0.5
    assert rewards.load("text_grounded", preset="gated", context=context)(REPLY, "left")["overall"] == 1.0


def test_parts_cannot_be_changed():
    with pytest.raises(TypeError):
        rewards.score("text_vanilla", REPLY, "a")["overall"] = 1.0


def test_a_reward_file_is_called_with_the_reply_and_the_reference(reward_file):
    path = reward_file("""
        import dataclasses

        @dataclasses.dataclass
        class Weights:
            accuracy: float = 1.0

        def compute_score(predict_str, ground_truth, bonus=0.0):
            accuracy = float(predict_str == ground_truth) * Weights().accuracy
            return {"overall": accuracy + bonus, "format": 1, "accuracy": accuracy, "length": len(predict_str)}
    """)
    reward = rewards.load(f"{path}:compute_score", bonus=0.25)
    assert dict(reward("red", "red")) == {"overall": 1.25, "format": 1.0, "accuracy": 1.0, "length": 3.0}
    assert reward("blue", "red")["overall"] == 0.25


def test_two_reward_files_of_one_name_do_not_mix(reward_file, tmp_path):
    (tmp_path / "other").mkdir()
    body = "def f(p, a):\n    return dict.fromkeys(('overall', 'format', 'accuracy'), {})\n"
    first = reward_file(body.format(1))
    second = reward_file(body.format(2), "other/mine.py")
    values = [rewards.load(f"{path}:f")("", "")["overall"] for path in (first, second)]
    assert values == [1.0, 2.0]


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ("1.0", "returned float; return a dict such as"),
        ("None", "returned NoneType"),
        ('{"overall": 1.0}', "returned no format, accuracy"),
        (
            '{"overall": float("nan"), "format": 0, "accuracy": 0}',
            "'overall': nan; every part must be a finite",
        ),
        ('{"overall": 10**400, "format": 0, "accuracy": 0}', "every part must be a finite number"),
        ('{"overall": "1", "format": 0, "accuracy": 0}', "'overall': '1'"),
        ('{"overall": True, "format": 0, "accuracy": 0}', "'overall': True"),
        ('{"overall": 1, "format": None, "accuracy": 0}', "'format': None"),
        ('{"overall": 1, "format": 0, "accuracy": 0, 3: 0}', "returned 3: 0"),
    ],
)
def test_what_a_reward_file_returns_is_checked(reward_file, returned, message):
    path = reward_file(f"def f(p, a):\n    return {returned}\n")
    with pytest.raises(ValueError, match=message):
        rewards.load(f"{path}:f")("red", "red")


def test_numpy_numbers_are_numbers(reward_file):
    path = reward_file("""
        import numpy as np

        def f(p, a):
            return {"overall": np.float32(0.5), "format": np.int64(1), "accuracy": np.float64(0)}
    """)
    assert rewards.load(f"{path}:f")("", "")["overall"] == float(np.float32(0.5))


def test_a_reward_file_that_cannot_be_used_is_refused(reward_file, tmp_path):
    good = reward_file("x = 1\n")
    with pytest.raises(FileNotFoundError, match="There is no reward file"):
        rewards.load(f"{tmp_path}/absent.py:f")
    with pytest.raises(ValueError, match="defines no function 'f'"):
        rewards.load(f"{good}:f")
    with pytest.raises(ValueError, match="defines no function 'x'"):
        rewards.load(f"{good}:x")
    with pytest.raises(ValueError, match=r"failed to load: ZeroDivisionError: division by zero"):
        rewards.load(f"{reward_file('1 / 0', 'bad.py')}:f")
    with pytest.raises(ValueError, match=r"failed to load: SyntaxError"):
        rewards.load(f"{reward_file('def', 'bad.py')}:f")


def test_errors_inside_a_users_reward_are_his_own(reward_file):
    path = reward_file("def f(p, a):\n    raise KeyError('mine')\n")
    with pytest.raises(KeyError, match="mine"):
        rewards.load(f"{path}:f")("a", "b")
