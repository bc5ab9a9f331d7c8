"""Eight devices learn what one does."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from vigorl_jax.qwen25vl.sharding import make_mesh
from vigorl_jax.testing.models import random_params
from vigorl_jax.testing.sampling import IMAGE_SETTINGS
from vigorl_jax.training.batch import collate
from vigorl_jax.training.image_table import ImageTable
from vigorl_jax.training.learner import Learner
from vigorl_jax.training.learner_settings import LearnerSettings
from vigorl_jax.training.lora import LoraSettings
from vigorl_jax.training.losses import Objective
from vigorl_jax.training.optimiser import OptimiserSettings
from vigorl_jax.training.reference import Reference

pytestmark = pytest.mark.usefixtures("quick_compiles")

SETTINGS = LearnerSettings(
    OptimiserSettings(learning_rate=1e-3, eps=1e-5), Objective(kl_coefficient=0.1), frozen="nothing"
)
ADVANTAGES = [1.0, -0.5, 0.25, -1.5, 0.75, 0.5, -0.5]


@pytest.fixture(scope="module")
def mesh():
    return make_mesh(1, 4, 2)


@pytest.fixture(scope="module")
def episodes(make_episode):
    return [make_episode(i, turns) for i, turns in enumerate([[4], [3, 5], [6], [2], [5], [4], [3]])]


def learned(mesh, episodes, config, count):
    """Parameters and metrics after three updates with a reference, on a mesh or without one."""
    learner = Learner(config, SETTINGS, mesh=mesh)
    state, images = learner.init(random_params(config, 0)), ImageTable(episodes, config)
    batches = collate(
        episodes,
        images,
        config,
        advantages=ADVANTAGES,
        count=count,
        row_multiple=learner.placement.row_devices,
    )
    shown = learner.encode(state, images.patch_batch(IMAGE_SETTINGS))
    reference = Reference(learner, state, place="host").score(batches, shown)
    old = [scores.log_probs for scores in learner.score(state, batches, shown)]
    for _ in range(3):
        state, metrics = learner.update(state, batches, shown, old=old, reference=reference)
    return learner, state, metrics


@pytest.fixture(scope="module")
def alone(episodes, shallow_config):
    """What one device has learned."""
    learner, state, metrics = learned(None, episodes, shallow_config, 1)
    return learner.params(state), metrics


@pytest.mark.parametrize("count", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_eight_devices_learn_what_one_does(count, mesh, alone, episodes, shallow_config):
    params, expected = alone
    shared, shared_state, metrics = learned(mesh, episodes, shallow_config, count)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
        shared.params(shared_state),
        params,
    )
    assert metrics == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert metrics["kl"] > 0
    # Parameters and moments lie as they did before the first update.
    placed = jax.tree.map(lambda x: x.sharding, shared_state)
    assert jax.tree.all(
        jax.tree.map(
            lambda x, ours, wanted: ours.is_equivalent_to(wanted, x.ndim),
            shared_state,
            placed,
            shared.shardings(),
        )
    )


def test_moments_are_cut_as_their_parameters_are(mesh, shallow_config):
    state = Learner(shallow_config, SETTINGS, mesh=mesh).abstract_state()
    moments = state.opt_state[1][0]
    for tree in (moments.mu, moments.nu):
        cuts = jax.tree.map(lambda a, b: a.sharding == b.sharding, tree, state.params)
        assert jax.tree.all(cuts)
    up = moments.nu["language_model"]["layers"]["0"]["mlp"]["up"]["kernel"]
    assert up.sharding.shard_shape(up.shape) == (96 // 4, 264 // 2)


def test_adapters_are_cut_as_their_kernels_are(mesh, shallow_config):
    settings = LearnerSettings(lora=LoraSettings(rank=4, quantised="int8", tile_size=24))
    state = Learner(shallow_config, settings, mesh=mesh).abstract_state()
    up = state.params["language_model"]["layers"]["0"]["mlp"]["up"]
    first, second = up["kernel_lora_a"], up["kernel_lora_b"]
    assert first.sharding.shard_shape(first.shape) == (96 // 4, 4)
    assert second.sharding.shard_shape(second.shape) == (4, 264 // 2)
    kernel = state.frozen["language_model"]["layers"]["0"]["mlp"]["up"]["kernel"]["array"]["qvalue"]
    assert kernel.sharding.shard_shape(kernel.shape) == (96 // 4, 264 // 2)


def test_rows_that_the_mesh_does_not_divide_are_refused(mesh, episodes, shallow_config):
    learner = Learner(shallow_config, dataclasses.replace(SETTINGS, objective=None), mesh=mesh)
    images = ImageTable(episodes, shallow_config)
    make = functools.partial(collate, episodes, images, shallow_config)
    with pytest.raises(ValueError, match=r"7 rows cannot be split over the 4 devices of .*row_multiple=4"):
        learner.placement.put_batch(make()[0])
    assert learner.placement.put_batch(make(row_multiple=4)[0]).tokens.shape[0] == 8
