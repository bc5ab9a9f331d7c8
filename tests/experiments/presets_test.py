"""Presets against the tables of the paper (arXiv 2505.23678), typed in here as the second source of truth."""

import math
import re

import pytest

from experiments.presets import algorithms, catalog, domains, euclidean_reward
from experiments.presets.preset import TINY, cite, make, shown
from vigorl_jax.datasets.catalog import CATALOG
from vigorl_jax.reasoning import rewards
from vigorl_jax.reasoning.prompts import Condition
from vigorl_jax.runs import fields
from vigorl_jax.runs.settings import GrpoRun, SftRun
from vigorl_jax.training import losses

PRESETS = {**catalog.GRPO, **catalog.SFT}
OF_PAPER = [preset for preset in PRESETS.values() if preset.initial != TINY]
GRPO = [preset for preset in OF_PAPER if isinstance(preset.settings, GrpoRun)]
SFT = [preset for preset in OF_PAPER if isinstance(preset.settings, SftRun)]
SINGLE = [preset for preset in GRPO if preset.settings.episodes.condition is not Condition.MULTITURN]
MULTI = [preset for preset in GRPO if preset.settings.episodes.condition is Condition.MULTITURN]

TABLE_A1 = {
    "num_epochs": 3,
    "learning_rate": 0.000001,
    "weight_decay": 0.01,
    "warmup_ratio": 0.03,
    "batch_size": 32,
    "schedule": "cosine",
    "max_tokens": 8192,
    "frozen": "vision",
    "compute_dtype": "bfloat16",
}
TABLE_A2 = {
    "num_steps": 500,
    "learning_rate": 0.000001,
    "weight_decay": 0.01,
    "warmup_ratio": 0.05,
    "examples_per_step": 128,
    "group_size": 5,
    "kl_coefficient": 0.01,
    "clip_high": 0.28,
    "max_grad_norm": 1.0,
    "max_prompt_tokens": 4096,
    "max_turn_tokens": 2048,
    "max_tokens": 6144,
    "temperature": 1.0,
    "top_p": 0.99,
    "frozen": "vision",
    "max_zooms": 0,
}
TABLE_A3 = {
    "num_steps": 500,
    "learning_rate": 0.000001,
    "weight_decay": 0.01,
    "warmup_ratio": 0.05,
    "examples_per_step": 128,
    "group_size": 8,
    "kl_coefficient": 0.01,
    "clip_high": 0.28,
    "max_grad_norm": 0.2,
    "max_prompt_tokens": 4096,
    "max_turn_tokens": 1024,
    "max_tokens": 8192,
    "max_turns": 5,
    "max_zooms": 4,
    "temperature": 1.0,
    "top_p": 0.99,
    "frozen": "vision",
}
# Section 4 of the reference behaviour: what the official code does where the tables are silent.
CODE = {
    "b1": 0.9,
    "b2": 0.999,
    "adam_eps": 1e-8,
    "schedule": "constant",
    "clip_low": 0.2,
    "clip_dual": 3.0,
    "kl_estimate": "k3",
    "aggregation": "token_mean",
    "advantage": "group_normalised",
    "epochs_per_step": 1,
    "checkpoint_every": 25,
    "zoom_cut_from": "reference",
    "zoom_edges": "clamp",
}
# (offset, side, dot, max_pixels) of reinforcement learning with zooms.
ZOOMS = {
    "web_grounding_multiturn_3b": (50, 384, True, 4_194_304),
    "web_grounding_multiturn_7b": (50, 384, True, 4_194_304),
    "visual_search_multiturn_3b": (182, 672, False, 2_850_000),
    "visual_search_multiturn_7b": (182, 672, False, 2_850_000),
    "visual_search_no_diversity_3b": (182, 672, False, 2_850_000),
}
ABLATIONS = {
    "spatial_no_grounding_3b",
    "spatial_no_warm_start_3b",
    "spatial_linear_distillation_3b",
    "spatial_direct_pretrain_3b",
    "visual_search_no_diversity_3b",
    "visual_search_boxes_3b",
    "web_grounding_euclidean_3b",
    "combined_grounded_3b",
}


def _names(presets):
    return [preset.name for preset in presets]


def _check(preset, table):
    found = fields.values(preset.settings)
    assert {name: found[name] for name in table} == table
    assert set(table) <= set(preset.sources)


@pytest.mark.parametrize("preset", SFT, ids=_names(SFT))
def test_supervised_runs_are_set_as_in_table_a1(preset):
    _check(preset, TABLE_A1)
    if preset.settings.episodes.condition is not Condition.BASE:
        assert preset.settings.validation.datasets


@pytest.mark.parametrize("preset", SINGLE, ids=_names(SINGLE))
def test_single_turn_runs_are_set_as_in_table_a2(preset):
    _check(preset, {**TABLE_A2, **CODE})
    assert preset.settings.episodes_per_update == 32 * 5  # gradient batch 32


@pytest.mark.parametrize("preset", MULTI, ids=_names(MULTI))
def test_multi_turn_runs_are_set_as_in_table_a3(preset):
    _check(preset, {**TABLE_A3, **CODE})
    assert preset.settings.episodes_per_update == 64  # gradient batch 64


@pytest.mark.parametrize("name", ZOOMS)
def test_zooms_are_those_of_their_domain(name):
    found = fields.values(catalog.GRPO[name].settings)
    keys = ("zoom_offset", "zoom_side", "zoom_dot", "max_pixels")
    assert tuple(found[key] for key in keys) == ZOOMS[name]


def test_every_domain_has_every_condition_at_both_sizes():
    tasks = ("spatial", "web_grounding", "web_action", "visual_search")
    grid = {f"{t}_{c}_{s}" for t in tasks for c in ("vanilla", "grounded", "multiturn") for s in ("3b", "7b")}
    assert set(_names(GRPO)) == grid | ABLATIONS
    assert len(grid) == 24
    warm = {
        f"{t}_{c}_{s}_sft" for t in tasks for c in ("grounded", "multiturn", "direct") for s in ("3b", "7b")
    }
    kept = {"spatial_no_grounding_3b", "spatial_linear_distillation_3b", "spatial_direct_pretrain_3b"}
    kept |= {"visual_search_boxes_3b", "combined_grounded_3b"}
    assert set(_names(SFT)) == warm | {f"{name}_sft" for name in kept}


def test_vanilla_runs_begin_with_the_base_model_and_the_others_with_their_warm_start():
    assert catalog.GRPO["spatial_vanilla_7b"].initial == "Qwen/Qwen2.5-VL-7B-Instruct"
    assert catalog.GRPO["spatial_no_warm_start_3b"].initial == "Qwen/Qwen2.5-VL-3B-Instruct"
    released = {
        "spatial_grounded_7b": "gsarch/ViGoRL-MCTS-SFT-7b-Spatial",
        "web_grounding_multiturn_3b": "gsarch/ViGoRL-Multiturn-MCTS-SFT-3b-Web-Grounding",
        "visual_search_multiturn_7b": "gsarch/ViGoRL-Multiturn-MCTS-SFT-7b-Visual-Search",
    }
    for name, model in released.items():
        assert catalog.GRPO[name].initial == f"{model}, or the model of {name}_sft"
    assert catalog.GRPO["web_action_grounded_3b"].initial == "the model of web_action_grounded_3b_sft"


@pytest.mark.parametrize("preset", OF_PAPER, ids=_names(OF_PAPER))
def test_a_model_that_a_preset_begins_with_exists_or_is_made_by_another(preset):
    for name in re.findall(r"the model of (\w+)", preset.initial):
        assert isinstance(catalog.SFT[name].settings, SftRun)


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_presets_name_data_and_rewards_that_exist_and_say_where_each_value_comes_from(preset):
    settings = preset.settings
    for name in (*settings.data.datasets, *settings.validation.datasets):
        assert name in CATALOG or name == "glyph_search/level_1"
    if isinstance(settings, GrpoRun):
        reward = settings.reward.reward or rewards.name_for("spatial", settings.episodes.condition)
        assert {"overall", "format", "accuracy"} <= set(rewards.load(reward)("", "a"))
    assert all(len(source) > 3 for source in preset.sources.values())
    table = preset.table()
    assert [row[0] for row in table] == list(fields.leaves(type(settings)))
    assert (settings.model, settings.workdir) == (None, None)


def test_ablations_differ_from_their_neighbour_in_nothing_else():
    def differences(name, other, presets=catalog.GRPO):
        ours, theirs = fields.values(presets[name].settings), fields.values(presets[other].settings)
        return {key: value for key, value in ours.items() if value != theirs[key]}

    assert differences("visual_search_no_diversity_3b", "visual_search_multiturn_3b") == {
        "diversity_bonus": False
    }
    boxes = {"call_form": "box", "reward_preset": "gated"}
    assert differences("visual_search_boxes_3b", "visual_search_multiturn_3b") == boxes
    assert differences("spatial_no_warm_start_3b", "spatial_grounded_3b") == {}
    assert differences("spatial_linear_distillation_3b", "spatial_grounded_3b") == {}
    assert differences("spatial_no_grounding_3b", "spatial_vanilla_3b") == {}
    assert set(differences("web_grounding_euclidean_3b", "web_grounding_grounded_3b")) == {"reward"}
    both = ("vigorl_spatial", "vigorl_web_grounding")
    assert differences("combined_grounded_3b", "spatial_grounded_3b") == {
        "datasets": both,
        "validation_datasets": both,
    }
    points = differences("spatial_no_grounding_3b_sft", "spatial_grounded_3b_sft", catalog.SFT)
    assert points == {"points": "remove", "condition": "vanilla"}


def test_a_7b_run_is_set_as_its_3b_run():
    for name, preset in catalog.GRPO.items():
        if name.endswith("_7b"):
            assert preset.settings == catalog.GRPO[name.replace("_7b", "_3b")].settings


def test_validation_never_sees_the_examples_of_training():
    for preset in OF_PAPER:
        data, validation = preset.settings.data, preset.settings.validation
        if set(data.datasets) & set(validation.datasets):
            parts = data.split, validation.split
            assert parts in (("train", "val"), ("train[500:]", "train[:500]"))


def test_the_tiny_run_is_that_of_the_study_but_for_its_optimizer_and_the_frozen_tower():
    found = fields.values(catalog.GRPO["glyph_search_tiny"].settings)
    study = {
        "datasets": ("glyph_search/level_1",),
        "max_pixels": 12_544,  # 112 x 112
        "zoom_offset": 56,
        "zoom_side": 112,
        "zoom_dot": False,
        "zoom_edges": "snap",
        "examples_per_step": 16,
        "group_size": 8,
        "optimiser": "muon",
        "learning_rate": 2e-3,
        "muon_rms": 0.12,
        "muon_momentum": 0.8,
        "schedule": "linear",
        "b2": 0.95,
        "warmup_steps": 5,
        "clip_low": 0.2,
        "clip_high": 0.2,
        "clip_dual": None,
        "kl_coefficient": 0.0,
        "updates_per_step": 2,
        "drops_zero": True,
        "frozen": "vision",
    }
    assert {name: found[name] for name in study} == study
    taught = fields.values(catalog.SFT["glyph_search_tiny_sft"].settings)
    assert (taught["learning_rate"], taught["batch_size"], taught["optimiser"]) == (1e-3, 32, "adamw")
    conditions = {name: preset.settings.episodes.condition for name, preset in catalog.GRPO.items()}
    assert conditions["glyph_search_tiny_grounded"] is Condition.GROUNDED
    assert conditions["glyph_search_tiny_vanilla"] is Condition.VANILLA


def test_algorithms_are_the_published_objectives():
    base = catalog.GRPO["spatial_grounded_3b"].settings

    def objective(name):
        return fields.replace(base, algorithms.ALGORITHMS[name]).learner_for(1).objective

    assert objective("grpo") == losses.Objective() == base.learner_for(1).objective
    assert objective("dapo") == losses.dapo()
    assert objective("dr_grpo") == losses.dr_grpo(2048)
    assert objective("gspo") == losses.gspo()
    assert objective("cispo") == losses.cispo(4.0)
    assert objective("rloo").kl_coefficient == 0.01


def test_the_euclidean_reward_falls_with_the_distance_from_the_middle():
    box = "(100, 100, 200, 140)"

    def score(point):
        return euclidean_reward.compute_score(f"<think> At (1, 2). </think><answer> {point} </answer>", box)

    assert score("(150, 120)")["overall"] == 1.0
    near = score("(150, 170)")  # 50 pixels below the middle, outside of the box
    assert near["accuracy"] == pytest.approx(math.exp(-0.5))
    assert near["overall"] == pytest.approx(0.5 * math.exp(-0.5) + 0.5)
    assert score("here")["accuracy"] == 0.0


def test_released_warm_starts_are_named_as_on_the_hub():
    search = domains.VISUAL_SEARCH.warm_start("multiturn", "3b")
    assert search.startswith("gsarch/ViGoRL-Multiturn-MCTS-SFT-3b-Visual-Search, or ")


def test_an_unknown_preset_is_answered_with_near_names():
    with pytest.raises(
        ValueError, match=r"no preset 'spatial_vanila_3b'; near are spatial_vanilla_3b, .*--list_presets"
    ):
        catalog.find(catalog.GRPO, "spatial_vanila_3b")
    with pytest.raises(ValueError, match=r"no preset 'spatial_grounded_3b_sft' here, it is one of train_sft"):
        catalog.find(catalog.GRPO, "spatial_grounded_3b_sft")
    with pytest.raises(ValueError, match="no preset 'zzz'; --list_presets shows all"):
        catalog.find(catalog.SFT, "zzz")


def test_later_tables_win_and_take_their_source_along():
    zoom = cite("a", zoom_offset=1, zoom_side=28, zoom_dot=False, datasets=("vstar",), seed=1)
    preset = make(GrpoRun, "x", "y", TINY, zoom, cite("b", seed=2))
    assert (preset.settings.seed, preset.sources["seed"], preset.sources["zoom_dot"]) == (2, "b", "a")
    assert ("seed", "2", "b") in preset.table()
    assert [shown(value) for value in (None, True, ("a", "b"), 1e-6)] == ["none", "true", "a,b", "1e-06"]
