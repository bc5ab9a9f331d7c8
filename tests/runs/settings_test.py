"""Settings of runs: what contradicts itself is refused with one message, and what they make of objectives."""

import math

import pytest

from vigorl_jax.reasoning import calls
from vigorl_jax.reasoning.prompts import Condition
from vigorl_jax.runs import fields
from vigorl_jax.runs.learning_settings import AdvantageSettings, ObjectiveSettings
from vigorl_jax.runs.settings import GrpoRun, SftRun
from vigorl_jax.runs.tiny_world import lexicon
from vigorl_jax.training import advantages, aggregation, divergences, losses, optimiser, surrogates

ZOOM = {"zoom_offset": 56, "zoom_side": 112, "zoom_dot": False}
GRPO = fields.build(GrpoRun, {"datasets": ("glyph_search/level_1",), **ZOOM})
SFT = fields.build(SftRun, {"datasets": ("glyph_search/level_1",), **ZOOM})
SINGLE = {"condition": Condition.GROUNDED, "max_zooms": 0, "diversity_bonus": False}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"datasets": ()}, "datasets is empty; name at least one"),
        ({"datasets": ("vstar", "vstar")}, "vstar, vstar name one twice; use weights instead"),
        ({"weights": (1.0, 2.0)}, "2 weights for 1 datasets; give one for each, or none"),
        ({"weights": (0.0,)}, r"weights \(0.0,\) must be above 0"),
        (
            {"max_zooms": 0},
            "multiturn with max_zooms 0 never zooms; raise max_zooms, or take the condition grounded",
        ),
        ({"condition": "base"}, "condition base with max_zooms 4: only multiturn zooms; set max_zooms to 0"),
        ({"max_turns": 1}, "max_turns 1 leaves no turn behind a zoom; give at least 2"),
        ({**SINGLE, "call_form": "box"}, "call_form box with condition grounded: only multiturn makes calls"),
        ({"max_turn_tokens": 20_000}, "max_turn_tokens 20000 is above max_tokens 16384 of the whole episode"),
        (
            {"max_prompt_tokens": 16_384},
            "max_prompt_tokens 16384 leaves nothing of max_tokens 16384 to sample",
        ),
        ({"prompt": ""}, "prompt is empty; give own, tiny, checkpoint, stored or a text file"),
        ({"prompt": "stored"}, "prompt stored belongs to supervised dialogues"),
        ({"reward": "nice"}, "unknown reward 'nice'; give one of point_vanilla, .*, or file.py:function"),
        ({"reward": "text_grounded"}, "reward text_grounded with condition multiturn: .* ends in _multiturn"),
        (
            {**SINGLE, "condition": "base"},
            "condition base has no reward; take another condition, or name a reward",
        ),
        ({**SINGLE, "diversity_bonus": True}, "diversity_bonus with condition grounded: only zooms earn it"),
        (
            {"reward_preset": "published", "call_form": "box"},
            "published with call_form box: it finds points only",
        ),
        (
            {"surrogate": "sequence_ratio"},
            "clip_dual 3.0 with surrogate sequence_ratio: only clipped_ratio has one",
        ),
        ({"clip_dual": 1.2}, r"clip_dual 1.2 is within the clip of 1 \+ 0.28; give more, or none"),
        (
            {"overlong": "penalise"},
            "overlong penalise with overlong_buffer None: the buffer belongs to penalise",
        ),
        ({"overlong_buffer": 5}, "overlong keep with overlong_buffer 5: the buffer belongs to penalise"),
        (
            {"overlong": "penalise", "overlong_buffer": 20_000},
            "20000 is more than the 5120 tokens that an episode",
        ),
        (
            {"kl_coefficient": 0.1, "reference": "none"},
            "kl_coefficient 0.1 with reference none; keep a reference",
        ),
        ({"group_size": 1}, "group_size is 1; give a whole number, at least 2"),
        (
            {"updates_per_step": 7},
            "128 examples of 8 episodes do not divide into 7 updates; change updates_per_step",
        ),
        ({"overlap": True}, "overlap learns from episodes of older parameters; give an importance_cap"),
        ({"temperature": 0.0}, "temperature is 0.0; give a number, above 0"),
        ({"adapters": True, "frozen": "nothing"}, "adapters with frozen nothing: .*; leave frozen at vision"),
        ({"warmup_ratio": 0.1, "warmup_steps": 5}, "warmup_ratio 0.1 and warmup_steps 5: one of them says"),
        (
            {"row_length": 8192},
            "row_length 8192 is less than max_tokens 16384: the longest episode fits no row",
        ),
        ({"optimiser": "sgd"}, "kind is 'sgd'; choose one of adamw, muon"),
    ],
)
def test_choices_that_exclude_each_other_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        fields.replace(GRPO, changes)


def test_points_are_not_removed_under_a_prompt_that_asks_for_them():
    with pytest.raises(
        ValueError, match="points remove with condition multiturn, whose prompt asks for points"
    ):
        fields.replace(SFT, {"points": "remove"})


def test_a_reward_of_ones_own_goes_with_any_condition():
    base = {**SINGLE, "condition": "base", "reward": "my/reward.py:score"}
    assert fields.replace(GRPO, base).reward.reward == "my/reward.py:score"


@pytest.mark.parametrize(
    ("algorithm", "changes"),
    [
        (losses.Objective(), {}),
        (losses.dapo(), {"clip_dual": None, "kl_coefficient": 0.0}),
        (
            losses.gspo(),
            {
                "surrogate": "sequence_ratio",
                "clip_low": 3e-4,
                "clip_high": 4e-4,
                "clip_dual": None,
                "aggregation": "sequence_mean",
                "kl_coefficient": 0.0,
            },
        ),
    ],
)
def test_objectives_are_those_that_the_losses_have_by_name(algorithm, changes):
    run = fields.replace(GRPO, changes)
    assert run.learner_for(10).objective == algorithm


def test_other_objectives_are_made_of_their_parts():
    settings = ObjectiveSettings(
        surrogate="clipped_weight",
        clip_low=1.0,
        clip_high=4.0,
        clip_dual=None,
        kl_estimate="k1",
        importance_cap=2.0,
    )
    made = settings.objective(100)
    assert made.surrogate == surrogates.ClippedWeight(4.0, 1.0)
    assert (made.divergence, made.importance_cap) == (divergences.k1, 2.0)
    assert ObjectiveSettings(kl_estimate="k2").objective(1).divergence is divergences.k2
    assert AdvantageSettings(advantage="leave_one_out").estimate is advantages.leave_one_out
    assert AdvantageSettings(advantage="centred").estimate is advantages.centred
    assert AdvantageSettings().estimate is advantages.group_normalised


@pytest.mark.parametrize(
    ("changes", "length"),
    [
        ({}, 5 * 1024),  # turns times tokens of a turn
        ({"max_tokens": 5000, "max_prompt_tokens": 4000}, 5000),  # no more than the episode
        (SINGLE, 1024),  # one turn
    ],
)
def test_a_constant_length_is_the_most_that_an_episode_may_sample(changes, length):
    run = fields.replace(GRPO, {**changes, "aggregation": "constant_length"})
    assert run.learner_for(1).objective.aggregate == aggregation.ConstantLength(length)


def test_the_schedule_counts_updates():
    run = fields.replace(
        GRPO, {"schedule": "cosine", "warmup_ratio": 0.05, "learning_rate": 1.0, "updates_per_step": 16}
    )
    made = run.learner_for(500).optimiser
    assert (made.warmup_steps, made.total_steps) == (400, 8000)  # 5 % of 500 x 16
    rate = optimiser.learning_rate(made)
    assert float(rate(0)) == pytest.approx(1 / 400)  # the first update counts
    assert float(rate(4200)) == pytest.approx(0.5)  # half way from 400 to 8000
    assert run.episodes_per_update == 64


def test_a_warm_up_may_be_given_in_updates_and_may_be_all_that_a_short_run_has():
    made = fields.replace(SFT, {"schedule": "linear", "warmup_steps": 5}).learner_for(3).optimiser
    assert (made.warmup_steps, made.total_steps) == (5, 6)


def test_the_learner_gets_what_the_run_says():
    run = fields.replace(GRPO, {"temperature": 0.7, "adapters": True, "lora_rank": 4})
    made = run.learner_for(1)
    assert (made.temperature, made.lora.rank) == (0.7, 4)
    assert GRPO.learner_for(1).lora is None
    taught = fields.replace(SFT, {"aggregation": "sequence_mean"}).learner_for(1)
    assert (taught.objective, taught.aggregate) == (None, aggregation.sequence_mean)


def test_the_frame_gets_workdir_and_steps():
    frame = fields.replace(GRPO, {"workdir": "here", "checkpoint_every": 3}).loop_for(7)
    assert (frame.workdir, frame.num_steps, frame.checkpoint_every) == ("here", 7, 3)
    with pytest.raises(ValueError, match="workdir is empty; name the directory"):
        GRPO.loop_for(7)


def test_plans_follow_the_episode_settings():
    plan = fields.replace(GRPO, {"call_form": "box"}).episodes.plan("visual_search", "Look.")
    assert (plan.rules.system, plan.rules.form, plan.zoom.preset.offset) == ("Look.", calls.BOX_CALL, 56)
    own = fields.replace(GRPO, SINGLE).episodes.plan("spatial")
    assert own.rules.condition is Condition.GROUNDED
    assert "spatial" in own.rules.system or "question" in own.rules.system


def test_the_system_message_is_own_tiny_a_file_or_the_checkpoints(tmp_path):
    def message(prompt):
        return fields.replace(GRPO, {"prompt": prompt}).episodes.system_message(str(tmp_path))

    assert message("own") is None
    assert message("tiny") == lexicon.SYSTEMS[Condition.MULTITURN]
    (tmp_path / "prompt.txt").write_text("Look twice.\n")
    assert message(str(tmp_path / "prompt.txt")) == "Look twice."
    with pytest.raises(FileNotFoundError, match=r"There is no prompt file nowhere\.txt"):
        message("nowhere.txt")
    with pytest.raises(FileNotFoundError, match="holds no chat template"):
        message("checkpoint")


def test_all_values_are_json():
    import json

    for run in (GRPO, SFT):
        flat = fields.values(run)
        assert json.loads(json.dumps(flat)) == {
            name: list(value) if isinstance(value, tuple) else value for name, value in flat.items()
        }
        assert not any(isinstance(value, float) and math.isnan(value) for value in flat.values())
