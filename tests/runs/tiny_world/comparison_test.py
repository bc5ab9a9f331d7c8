"""The whole comparison, far too short to learn anything: every stage runs, and what it leaves says what was done."""

import dataclasses
import json

import pytest

from experiments.presets import catalog
from vigorl_jax.reasoning.prompts import Condition
from vigorl_jax.runs import fields
from vigorl_jax.runs.loop import Outcome
from vigorl_jax.runs.side_by_side import Here, Processes
from vigorl_jax.runs.tiny_world import arms, comparison, model, outcome
from vigorl_jax.runs.tiny_world.arms import Setting, Trained
from vigorl_jax.runs.tiny_world.recipe import Imitation, Recipe, Sight, Words
from vigorl_jax.tasks.glyph_levels import LEVEL_2
from vigorl_jax.tasks.glyph_teacher import Aim

RECIPE = Recipe(
    scenes=16,
    sight=Sight(2, 4, 4),
    words=(Words(2, 4, 0, 4), Words(2, 2, 2, 2)),
    imitation=(Imitation(1, Aim(1.0, 0.01)), Imitation(1)),
)
SIZES = {"num_steps": 2, "examples_per_step": 2, "group_size": 2, "slots": 4}


def _setting(recipe, workdir):
    preset = catalog.find(catalog.GRPO, "glyph_search_tiny").settings
    return Setting(recipe, fields.replace(preset, {**comparison.RUN, **SIZES}), workdir, 4, seed=3)


@pytest.mark.slow
def test_a_comparison_leaves_table_results_curves_and_report(tmp_path, capfd):
    with Processes(2, tmp_path / "compiled") as workers:
        found = comparison.from_nothing(_setting(RECIPE, tmp_path), workers, fast=True).result()
    outcome.write([found], tmp_path, RECIPE)

    assert list(found.arms) == [comparison.SFT, comparison.GRPO, comparison.VANILLA]
    assert [arm.steps for arm in found.arms.values()] == [2, 2, 2]
    assert [len(arm.curve) for arm in found.arms.values()] == [0, 2, 2]
    said = capfd.readouterr().err
    assert "perception: 6 steps\n" in said
    assert f"{comparison.VANILLA}: step 2/2" in said
    record = json.loads((tmp_path / outcome.RESULTS).read_text())
    assert record["seeds"][0]["arms"][comparison.GRPO]["result"]["greedy"]["examples"] == 4
    assert comparison.VANILLA in (tmp_path / outcome.TABLE).read_text()
    assert "before GRPO" in (tmp_path / outcome.REPORT).read_text()
    assert (tmp_path / outcome.CURVES).read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_all_arms_come_in_the_order_of_the_table_and_go_on_from_what_they_must(tmp_path):
    recipe = dataclasses.replace(RECIPE, imitation=(Imitation(2),))
    found = comparison.from_nothing(_setting(recipe, tmp_path), Here(), fast=False).result()
    assert list(found.arms) == [
        comparison.SFT,
        comparison.GRPO,
        comparison.SAME_TIME,
        comparison.NO_BONUS,
        comparison.GROUNDED,
        comparison.VANILLA,
        comparison.BASE,
    ]
    ratio = found.arms[comparison.GRPO].seconds / found.arms[comparison.SFT].seconds
    assert found.arms[comparison.SAME_TIME].steps == round(2 * ratio)
    assert [found.arms[name].condition for name in (comparison.NO_BONUS, comparison.BASE)] == [
        Condition.MULTITURN,
        Condition.BASE,
    ]
    config = json.loads((tmp_path / "seed_3/grpo_with_zooms_no_bonus/config.json").read_text())
    assert "sft_imitation" in json.dumps(config)


@pytest.mark.slow
def test_a_warm_start_is_compared_with_and_without_zooms_on_its_level(tmp_path):
    recipe = dataclasses.replace(RECIPE, level=LEVEL_2)
    directory = tmp_path / "first"
    directory.mkdir()
    model.write_files(directory, recipe.config, model.first_params(recipe.config, 0), recipe.images)
    found = comparison.from_warm_start(_setting(recipe, tmp_path), Here(), directory).result()
    assert list(found.arms) == [comparison.SFT, comparison.GRPO, comparison.GROUNDED]
    assert [arm.steps for arm in found.arms.values()] == [0, 2, 2]
    assert found.arms[comparison.GROUNDED].result.zooms == 0
    assert "level_2" in found.before[0].example.id


def test_an_interrupt_ends_the_comparison_at_the_step_that_is_saved(tmp_path, monkeypatch):
    monkeypatch.setattr(arms, "train_grpo", lambda run: Outcome(7, "SIGINT"))
    with pytest.raises(KeyboardInterrupt, match="GRPO: SIGINT after step 7"):
        arms.reinforce(_setting(RECIPE, tmp_path), "GRPO", Trained(tmp_path), Condition.VANILLA)
