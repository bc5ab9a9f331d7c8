"""The whole comparison, far too short to learn anything: every stage runs, and what it leaves says what was done."""

import json

import pytest

from experiments.presets import catalog
from vigorl_jax.runs import fields
from vigorl_jax.runs.tiny_world import comparison, outcome
from vigorl_jax.runs.tiny_world.comparison import Comparer
from vigorl_jax.runs.tiny_world.recipe import Recipe, Sight, Words

RECIPE = Recipe(
    scenes=16,
    sight=Sight(2, 4, 4),
    words=(Words(2, 4, 0, 4, "constant"), Words(2, 2, 2, 2, "linear")),
    imitation=2,
    batch=18,
)
SIZES = {"num_steps": 2, "examples_per_step": 2, "group_size": 2, "slots": 4}


@pytest.mark.slow
def test_a_comparison_leaves_table_results_curves_and_report(tmp_path):
    preset = catalog.find(catalog.GRPO, "glyph_search_tiny").settings
    said = []
    comparer = Comparer(
        RECIPE, fields.replace(preset, {**comparison.RUN, **SIZES}), tmp_path, examples=4, say=said.append
    )
    found = comparer.run(3, fast=True)
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
