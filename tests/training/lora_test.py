"""Adapters begin as nothing, are all that is trained, and merge into the model that they make."""

import sys

import numpy as np
import pytest
from flax import traverse_util

from vigorl_jax.qwen25vl import weights
from vigorl_jax.testing.models import random_params
from vigorl_jax.testing.sampling import IMAGE_SETTINGS
from vigorl_jax.training.batch import collate
from vigorl_jax.training.image_table import ImageTable
from vigorl_jax.training.learner import Learner
from vigorl_jax.training.learner_settings import LearnerSettings
from vigorl_jax.training.lora import LoraSettings
from vigorl_jax.training.optimiser import OptimiserSettings
from vigorl_jax.training.reference import Reference

pytest.importorskip("qwix")
pytestmark = pytest.mark.usefixtures("quick_compiles")

ADAM = OptimiserSettings(learning_rate=1e-2)
RANK = 4


@pytest.fixture(scope="module")
def problem(make_episode, shallow_config):
    """(parameters, batches, patches)"""
    episodes = [make_episode(0, [4]), make_episode(1, [3, 5])]
    images = ImageTable(episodes, shallow_config)
    return (
        random_params(shallow_config, 0),
        collate(episodes, images, shallow_config),
        images.patch_batch(IMAGE_SETTINGS),
    )


@pytest.fixture(scope="module")
def plain(shallow_config):
    return Learner(shallow_config, LearnerSettings())


def flat(params):
    return traverse_util.flatten_dict(params, sep="/")


def test_adapters_begin_as_nothing_and_end_merged_in_a_model_directory(
    problem, plain, shallow_config, tmp_path
):
    params, batches, patches = problem
    learner = Learner(shallow_config, LearnerSettings(ADAM, lora=LoraSettings(RANK, alpha=8.0)))
    state = learner.init(params)
    (before,) = plain.score(plain.init(params), batches, patches)
    (start,) = learner.score(state, batches, patches)
    np.testing.assert_array_equal(start.log_probs, before.log_probs)

    reference = Reference(learner, state)
    losses = []
    for _ in range(4):
        state, metrics = learner.update(state, batches, patches)
        losses.append(metrics["loss"])
    assert losses[-1] < losses[0] - 0.5
    (kept,) = reference.score(batches, patches)
    np.testing.assert_array_equal(kept, before.log_probs)

    weights.save(tmp_path, shallow_config, learner.params(state))
    _, merged = weights.load(tmp_path)
    (adapted,) = learner.score(state, batches, patches)
    (written,) = plain.score(plain.init(merged), batches, patches)
    np.testing.assert_allclose(written.log_probs, adapted.log_probs, atol=1e-4)
    changes = {path: np.asarray(x - flat(params)[path]) for path, x in flat(merged).items()}
    for path, change in changes.items():
        has_adapter = "/layers/" in path and path.endswith("kernel")
        assert (np.linalg.matrix_rank(change, tol=1e-4) == RANK) if has_adapter else not change.any()


def test_only_adapters_are_trained_and_have_optimizer_state(problem, shallow_config):
    params, *_ = problem
    settings = LearnerSettings(lora=LoraSettings(RANK, modules="layers/0/attn/[qv]"))
    state = Learner(shallow_config, settings).init(params)
    adapters = {f"language_model/layers/0/attn/{m}/kernel_lora_{f}" for m in "qv" for f in "ab"}
    assert set(flat(state.params)) == adapters
    assert set(flat(state.opt_state[1][0].mu)) == adapters


@pytest.mark.parametrize(("quantised", "error"), [("int8", 0.01), ("nf4", 0.1)])
def test_a_quantised_model_is_near_the_model_learns_and_merges(
    quantised, error, problem, plain, shallow_config
):
    params, batches, patches = problem
    lora = LoraSettings(RANK, quantised=quantised, tile_size=24)
    learner = Learner(shallow_config, LearnerSettings(ADAM, lora=lora))
    state = learner.init(params)
    kernel = "language_model/layers/0/mlp/up/kernel"
    bits = flat(state.frozen)[f"{kernel}/array/qvalue"].dtype.itemsize
    assert bits == 1  # bytes; JAX counts one for four bits too
    change = flat(learner.params(state))[kernel] - flat(params)[kernel]
    assert 0 < np.linalg.norm(change) < error * np.linalg.norm(flat(params)[kernel])
    losses = []
    for _ in range(4):
        state, metrics = learner.update(state, batches, patches)
        losses.append(metrics["loss"])
    assert losses[-1] < losses[0] - 0.5
    (adapted,) = learner.score(state, batches, patches)
    (merged,) = plain.score(plain.init(learner.params(state)), batches, patches)
    np.testing.assert_allclose(merged.log_probs, adapted.log_probs, atol=1e-3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LoraSettings(rank=0), "rank is 0; give at least 1"),
        (
            lambda: LoraSettings(quantised="int3"),
            "quantised is 'int3'; choose one of int8, int4, nf4, or None",
        ),
        (
            lambda: LearnerSettings(lora=LoraSettings(), frozen="nothing"),
            "frozen is 'nothing' and lora is given",
        ),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_without_qwix_there_is_one_clear_message(shallow_config, monkeypatch):
    monkeypatch.setitem(sys.modules, "qwix", None)
    with pytest.raises(
        ValueError, match=r"lora needs qwix: pip install 'vigorl_jax\[lora\]', or leave lora off"
    ):
        Learner(shallow_config, LearnerSettings(lora=LoraSettings()))
