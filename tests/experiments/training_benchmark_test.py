"""The training suite on toy sizes: both sides compute the same loss, and what is counted is what is called."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from experiments.benchmarks import training_grpo, training_sft, training_work
from experiments.benchmarks.accelerator_sampling import RELEASED_3B
from experiments.benchmarks.sampling import TINY
from experiments.benchmarks.training_sft import SftJob
from vigorl_jax.testing.models import random_params
from vigorl_jax.training.learner import Learner
from vigorl_jax.training.learner_settings import LearnerSettings
from vigorl_jax.training.step_flops import Job, update_call

IMAGE_ROWS = SftJob(rows=2, length=24, learned=10, grid=(1, 4, 4))


def test_both_sides_of_supervised_learning_start_from_the_same_loss():
    figures = training_sft.run(TINY, random_params(TINY, 0), repetitions=1, compiled=False, job=IMAGE_ROWS)
    assert figures["ours"]["loss"] == pytest.approx(figures["pytorch"]["loss"], rel=1e-5)
    assert figures["times_as_fast"] > 0
    json.dumps(figures)


def test_a_step_of_policy_gradients_samples_every_token_and_says_how_to_get_the_peer(monkeypatch):
    monkeypatch.setattr(training_grpo.training_peers, "has_trl", lambda: False)
    figures = training_grpo.run(repetitions=1, examples=2, group=2, new_tokens=3)
    assert figures["new_tokens"] == 12
    assert set(figures["ours_parts_ms"]) == {"roll_out", "prepare", "update"}
    assert "pip install" in figures["trl"]
    json.dumps(figures)


def test_the_counted_update_is_what_the_compiler_counts():
    """Up to norms, activations and the optimizer, which XLA counts too: a few per cent at this width."""
    text = dataclasses.replace(TINY.text, width=192, mlp_width=1024, head_dim=48, mrope_section=(8, 8, 8))
    config = dataclasses.replace(TINY, vision=dataclasses.replace(TINY.vision, out_width=192), text=text)
    job = SftJob(rows=4, length=128, learned=64)
    batch, _, _ = training_sft.rows_of(config, job)
    learner = Learner(config, LearnerSettings())
    state = learner.init(random_params(config, 0))
    embeds = np.zeros((1, config.text.width), np.float32)
    step = jax.jit(learner._traced_step)
    learned = dataclasses.replace(state, frozen={})
    analysis = step.lower(learned, state.frozen, embeds, batch, None, None).compile().cost_analysis()
    assert update_call(config.text, 4, 128, 64) == pytest.approx(analysis["flops"], rel=0.06)


def test_the_dry_sampler_draws_every_token_of_the_job():
    job = Job(3, 4, (1, 8, 8), ((1, 4, 4),), prompt_tokens=20, sampled_tokens=12)
    rolled = training_work.sampler_calls(TINY, job, slots=8)
    calls, lengths = rolled.calls, rolled.lengths
    # An opening of 16 + 20 tokens, a crop of 4 with its markers, and turns of 4 to 8 tokens.
    assert len(lengths) == 12
    assert all(36 + 6 + 8 <= length <= 36 + 6 + 16 for length in lengths)
    drawn = sum(rows * times for (step, rows, *_), times in calls.items() if step == "decode")
    assert drawn >= sum(length - 42 for length in lengths) - 2 * 12
    assert sum(rows * times for (step, rows, *_), times in calls.items() if step == "extend") >= 12
    # The sampler has left every image encoded for the learner.
    assert rolled.unseen == []


def test_work_of_visual_search_lies_between_lean_and_naive():
    job = Job(4, 8, (1, 102, 100), ((1, 48, 48),) * 3, 250, 600)
    figures = training_work.run(RELEASED_3B, TINY, job, slots=32)
    assert 1 < figures["times_lean"] < figures["naive_pflop"] / figures["lean_pflop"]
