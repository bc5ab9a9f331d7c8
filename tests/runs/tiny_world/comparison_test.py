"""The whole comparison, far too short to learn anything: every stage runs, and what it leaves says what was done."""

import dataclasses
import json

import pytest

from experiments.presets import catalog
from vigorl_jax.runs import fields
from vigorl_jax.runs.tiny_world import comparison, model, outcome
from vigorl_jax.runs.tiny_world.comparison import Comparer
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


def _comparer(recipe, workdir, said):
    preset = catalog.find(catalog.GRPO, "glyph_search_tiny").settings
    run = fields.replace(preset, {**comparison.RUN, **SIZES})
    return Comparer(recipe, run, workdir, examples=4, say=said.append)


@pytest.mark.slow
def test_a_comparison_leaves_table_results_curves_and_report(tmp_path):
    said = []
    comparer = _comparer(RECIPE, tmp_path, said)
    found = comparer.from_nothing(3, fast=True)
    outcome.write([found], tmp_path, RECIPE)

    assert list(found.arms) == [comparison.SFT, comparison.GRPO, comparison.VANILLA]
    assert [arm.steps for arm in found.arms.values()] == [2, 2, 2]
    assert [len(arm.curve) for arm in found.arms.values()] == [0, 2, 2]
    assert said[0] == "perception"
    record = json.loads((tmp_path / outcome.RESULTS).read_text())
    assert record["seeds"][0]["arms"][comparison.GRPO]["result"]["greedy"]["examples"] == 4
    assert comparison.VANILLA in (tmp_path / outcome.TABLE).read_text()
    assert "before GRPO" in (tmp_path / outcome.REPORT).read_text()
    assert (tmp_path / outcome.CURVES).read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_warm_start_is_compared_with_and_without_zooms_on_its_level(tmp_path):
    recipe = dataclasses.replace(RECIPE, level=LEVEL_2)
    found = _comparer(recipe, tmp_path, []).from_warm_start(model.first_params(recipe.config, 0), 3)
    assert list(found.arms) == [comparison.SFT, comparison.GRPO, comparison.GROUNDED]
    assert [arm.steps for arm in found.arms.values()] == [0, 2, 2]
    assert found.arms[comparison.GROUNDED].result.zooms == 0
    assert "level_2" in found.before[0].example.id
