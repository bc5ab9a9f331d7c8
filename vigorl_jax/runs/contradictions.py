"""Choices of a run that exclude each other: what is wrong, and what to change, one message each."""

from __future__ import annotations

import typing

from vigorl_jax.reasoning import rewards
from vigorl_jax.reasoning.prompts import Condition

if typing.TYPE_CHECKING:
    from vigorl_jax.runs import settings

# The layouts of calls whose points the published rewards find.
PUBLISHED_FORMS = ("point", "point_in_any_image")


class Contradiction(ValueError):
    """Two choices that cannot both be meant."""


def _refuse(condition: bool, message: str) -> None:
    if condition:
        raise Contradiction(message)


def of_data(data: settings.DataSettings) -> None:
    """Names and weights."""
    _refuse(not data.datasets, "datasets is empty; name at least one data set")
    _refuse(
        len(data.weights) not in (0, len(data.datasets)),
        f"{len(data.weights)} weights for {len(data.datasets)} datasets; give one for each, or none",
    )
    _refuse(
        any(weight <= 0 for weight in data.weights),
        f"weights {data.weights} must be above 0; leave out the data sets that are not wanted",
    )
    _refuse(
        len(set(data.datasets)) < len(data.datasets),
        f"datasets {', '.join(data.datasets)} name one twice; use weights instead",
    )


def of_episodes(episodes: settings.EpisodeSettings) -> None:
    """Condition, zooms, limits, prompt."""
    limits = episodes.limits
    is_multiturn = episodes.condition is Condition.MULTITURN
    _refuse(
        is_multiturn and limits.max_zooms == 0,
        "condition multiturn with max_zooms 0 never zooms; raise max_zooms, or take the condition grounded",
    )
    _refuse(
        not is_multiturn and limits.max_zooms > 0,
        f"condition {episodes.condition} with max_zooms {limits.max_zooms}: only multiturn zooms; set max_zooms to 0",
    )
    _refuse(
        is_multiturn and limits.max_turns < 2,
        f"condition multiturn with max_turns {limits.max_turns} leaves no turn behind a zoom; give at least 2",
    )
    _refuse(
        not is_multiturn and episodes.call_form != "point",
        f"call_form {episodes.call_form} with condition {episodes.condition}: only multiturn makes calls; leave it",
    )
    _refuse(
        limits.max_turn_tokens > limits.max_tokens,
        f"max_turn_tokens {limits.max_turn_tokens} is above max_tokens {limits.max_tokens} of the whole episode",
    )
    _refuse(
        episodes.max_prompt_tokens >= limits.max_tokens,
        f"max_prompt_tokens {episodes.max_prompt_tokens} leaves nothing of max_tokens {limits.max_tokens} to sample",
    )
    _refuse(not episodes.prompt, "prompt is empty; give own, tiny, checkpoint, stored or a text file")


def of_sampled_episodes(episodes: settings.EpisodeSettings) -> None:
    """Episodes that a model makes: nobody has stored a prompt with them."""
    _refuse(
        episodes.prompt == "stored",
        "prompt stored belongs to supervised dialogues; give own, tiny, checkpoint or a text file",
    )


def of_reward(reward: settings.RewardSettings) -> None:
    """The name of the reward; that a file has the function is seen when it is loaded."""
    name = reward.reward
    is_file = name is not None and name.rpartition(":")[0].endswith(".py")
    _refuse(
        name is not None and name not in rewards.REWARDS and not is_file,
        f"unknown reward '{name}'; give one of {', '.join(rewards.REWARDS)}, or file.py:function",
    )


def of_objective(objective: settings.ObjectiveSettings) -> None:
    """Clips that the surrogate does not have."""
    _refuse(
        objective.surrogate != "clipped_ratio" and objective.clip_dual is not None,
        f"clip_dual {objective.clip_dual} with surrogate {objective.surrogate}: only clipped_ratio has one; "
        "set it to none",
    )
    _refuse(
        objective.clip_dual is not None and objective.clip_dual <= 1 + objective.clip_high,
        f"clip_dual {objective.clip_dual} is within the clip of 1 + {objective.clip_high}; give more, or none",
    )


def of_advantages(advantages: settings.AdvantageSettings) -> None:
    """The penalty and its buffer."""
    _refuse(
        (advantages.overlong == "penalise") != (advantages.overlong_buffer is not None),
        f"overlong {advantages.overlong} with overlong_buffer {advantages.overlong_buffer}: the buffer belongs to "
        "penalise, and to it alone",
    )


def of_run(run: settings.Run) -> None:
    """What supervised and reinforcement runs have in common."""
    _refuse(
        run.schedule.warmup_ratio is not None and run.learner.optimiser.warmup_steps > 0,
        f"warmup_ratio {run.schedule.warmup_ratio} and warmup_steps {run.learner.optimiser.warmup_steps}: one of them "
        "says how long the warm-up is; set warmup_ratio to none or warmup_steps to 0",
    )
    _refuse(
        run.adapters and run.learner.frozen != "vision",
        f"adapters with frozen {run.learner.frozen}: they are trained alone, in the language model; "
        "leave frozen at vision, or set adapters to false",
    )
    row = run.rows.row_length
    _refuse(
        row is not None and row < run.episodes.limits.max_tokens,
        f"row_length {row} is less than max_tokens {run.episodes.limits.max_tokens}: the longest episode fits no row",
    )


def of_sft(run: settings.SftRun) -> None:
    """A supervised run."""
    _refuse(
        run.points == "remove" and run.episodes.condition in (Condition.GROUNDED, Condition.MULTITURN),
        f"points remove with condition {run.episodes.condition}, whose prompt asks for points; "
        "take the condition vanilla",
    )


def of_grpo(run: settings.GrpoRun) -> None:
    """A run of policy gradients."""
    condition, episodes = run.episodes.condition, run.sampling.episodes_per_step
    _refuse(
        condition is Condition.BASE and run.reward.reward is None,
        "condition base has no reward; take another condition, or name a reward of your own",
    )
    of_sampled_episodes(run.episodes)
    _refuse(
        run.updates_per_step > 1 and episodes % run.updates_per_step > 0,
        f"{run.sampling.examples_per_step} examples of {run.sampling.group_size} episodes do not divide into "
        f"{run.updates_per_step} updates; change updates_per_step",
    )
    _refuse(
        run.objective.kl_coefficient > 0 and run.reference == "none",
        f"kl_coefficient {run.objective.kl_coefficient} with reference none; keep a reference, or set it to 0",
    )
    _of_reward_and_episodes(run)
    _refuse(
        run.overlap and run.objective.importance_cap is None,
        "overlap learns from episodes of older parameters; give an importance_cap, such as 2",
    )
    buffer, most = run.advantages.overlong_buffer, run.most_sampled_tokens
    _refuse(
        buffer is not None and buffer > most,
        f"overlong_buffer {buffer} is more than the {most} tokens that an episode may sample; give less",
    )


def _of_reward_and_episodes(run: settings.GrpoRun) -> None:
    name, condition = run.reward.reward, run.episodes.condition
    is_multiturn = condition is Condition.MULTITURN
    _refuse(
        run.reward.diversity_bonus and not is_multiturn,
        f"diversity_bonus with condition {condition}: only zooms earn it; set it to false, or take multiturn",
    )
    _refuse(
        name in rewards.REWARDS and not name.endswith(f"_{condition}"),
        f"reward {name} with condition {condition}: it reads another format; take one that ends in _{condition}",
    )
    _refuse(
        run.reward.reward_preset == "published"
        and is_multiturn
        and (name is None or name in rewards.REWARDS)
        and run.episodes.call_form not in PUBLISHED_FORMS,
        f"reward_preset published with call_form {run.episodes.call_form}: it finds points only; take gated",
    )
