"""Rewards by name and preset, and users' own rewards from a file.

A reward turns the text of a reply, or of a whole dialogue, and the reference answer into named parts:
`overall`, which is learned from, `format` and `accuracy`, and further parts for the log. Presets: `published`
(the official code's, exactly) and `gated` (see `gated_rewards` for what differs).

Users' rewards follow EasyR1: `def compute_score(predict_str, ground_truth)` in a file of their own, named as
`path/to/file.py:compute_score`.
"""

import functools
import hashlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from vigorl_jax.reasoning import gated_rewards, published_rewards
from vigorl_jax.reasoning.gated_rewards import NO_CONTEXT, Context
from vigorl_jax.reasoning.reward_parts import RewardParts, validated
from vigorl_jax.tasks import catalog

REWARDS = (
    "point_vanilla",
    "point_grounded",
    "point_multiturn",
    "text_vanilla",
    "text_grounded",
    "text_multiturn",
    "action_vanilla",
    "action_grounded",
    "action_multiturn",
)
PRESETS = ("published", "gated")

Reward = Callable[[str, str], RewardParts]


def score(
    reward: str, prediction: str, answer: str, preset: str = "published", context: Context = NO_CONTEXT
) -> RewardParts:
    """Scores one reply.

    Args:
      reward: One of `REWARDS`: what the answer is, and which format is asked for. `action_multiturn` is ours.
      prediction: The reply as text, special tokens left out; for multi-turn rewards the whole dialogue from
        the first assistant message on, the observations included.
      answer: The reference: an option or a word, a box `(x0, y0, x1, y1)` in the pixels of the reply, or an
        action.
      preset: One of `PRESETS`.
      context: Options, image size, call layout. The published rewards know nothing of these and ignore them.

    Returns:
      The parts: `overall`, `format`, `accuracy`; for grounded rewards `grounding`; for multi-turn rewards
      `diversity` (the zoom bonus within `format`), `zooms` and `distinct_zooms`.

      `score("text_vanilla", "<think>a</think><answer>left</answer>", "right")` has overall 0.5, format 1,
      accuracy 0.

    Raises:
      ValueError: unknown reward or preset. Predictions and answers never raise.
    """
    if reward not in REWARDS:
        raise ValueError(f"Unknown reward {reward!r}; choose one of {', '.join(REWARDS)}.")
    if preset == "published":
        return getattr(published_rewards, reward)(prediction, answer)
    if preset == "gated":
        return getattr(gated_rewards, reward)(prediction, answer, context)
    raise ValueError(f"Unknown preset {preset!r}; choose one of {', '.join(PRESETS)}.")


def name_for(task: str, condition: str) -> str:
    """The reward of a task in a condition: `name_for("spatial", "grounded")` is `"text_grounded"`.

    Raises:
      ValueError: unknown task, or a condition other than vanilla, grounded and multiturn (base replies are
        evaluated, not rewarded).
    """
    if condition not in ("vanilla", "grounded", "multiturn"):
        raise ValueError(
            f"No reward for condition {condition!r}; choose one of vanilla, grounded, multiturn."
        )
    return f"{catalog.get(task).reward_family}_{condition}"


def load(spec: str, **options: Any) -> Reward:
    """The reward that a flag names, as a function of (prediction, answer).

    Args:
      spec: One of `REWARDS`, or `file.py:function` for a user's own reward.
      **options: Passed on with every call: `preset` and `context` for ours, anything for a user's function.

    Returns:
      A function whose result is checked: a mapping with at least overall, format and accuracy, all finite.

    Raises:
      ValueError: an unknown name, no function of that name in the file, or a file that fails to load.
      FileNotFoundError: there is no such file.
    """
    if spec in REWARDS:
        reward = functools.partial(score, spec, **options)
        reward("", "")  # An unknown preset is reported now, not in the middle of a run.
        return reward
    path, colon, function_name = spec.rpartition(":")
    if not colon or not path.endswith(".py"):
        raise ValueError(f"Unknown reward {spec!r}; give one of {', '.join(REWARDS)}, or file.py:function.")
    function = getattr(_load_module(Path(path)), function_name, None)
    if not callable(function):
        raise ValueError(f"{path} defines no function {function_name!r}; name one as {path}:function.")

    def user_reward(prediction: str, answer: str) -> RewardParts:
        return validated(f"The reward {spec}", function(prediction, answer, **options))

    return user_reward


def _load_module(path: Path) -> ModuleType:
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no reward file {path}; give file.py:function with a path that exists."
        )
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]
    name = f"_user_reward_{digest}"
    specification = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module  # Dataclasses and pickling inside the file look their module up here.
    try:
        specification.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise ValueError(
            f"The reward file {path} failed to load: {type(error).__name__}: {error}."
        ) from error
    return module
