"""What a policy compiles follows from the plans: their lengths, their zooms, and what they refuse."""

import dataclasses

import pytest

from vigorl_jax.reasoning.prompts import Condition
from vigorl_jax.runs.policy import Desk, Policy
from vigorl_jax.runs.tiny_world import examination, model


@pytest.fixture(scope="module")
def policy():
    config = model.config()
    return Policy(config, model.first_params(config, 0), model.tokenizer(), model.image_settings())


def shapes(policy, plan, **options):
    return Desk(policy, [plan], prompt_tokens=40, slots=8, **options).shapes


def limited(plan, **limits):
    rules = plan.rules
    return dataclasses.replace(
        plan, rules=dataclasses.replace(rules, limits=dataclasses.replace(rules.limits, **limits))
    )


def test_an_extension_is_a_closer_view_or_a_refusal_where_a_malformed_turn_is_answered(policy):
    plan = examination.make_plan(Condition.MULTITURN)
    (view,) = shapes(policy, plan).extend_lengths
    views, refusals = shapes(policy, limited(plan, max_malformed=1)).extend_lengths
    # 16 tokens of the crop and those around it; a refusal may have 160 bytes.
    assert 16 < view == views < 48
    assert refusals > 160


def test_without_zooms_nothing_is_extended(policy):
    assert shapes(policy, examination.make_plan(Condition.VANILLA)).extend_lengths == ()


def test_rows_of_a_call_begin_where_they_are_told_to(policy):
    plan = examination.make_plan(Condition.MULTITURN)
    assert shapes(policy, plan).row_counts == (1, 4, 8)
    assert shapes(policy, plan, least_rows=4).row_counts == (4, 8)
