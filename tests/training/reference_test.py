"""A reference stays the policy that it was made of, wherever it is kept."""

import jax
import numpy as np
import pytest

from vigorl_jax.testing.models import random_params
from vigorl_jax.testing.sampling import IMAGE_SETTINGS
from vigorl_jax.training import reference as reference_module
from vigorl_jax.training.batch import collate
from vigorl_jax.training.image_table import ImageTable
from vigorl_jax.training.learner import Learner
from vigorl_jax.training.learner_settings import LearnerSettings
from vigorl_jax.training.optimiser import OptimiserSettings
from vigorl_jax.training.reference import Reference

pytestmark = pytest.mark.usefixtures("quick_compiles")


@pytest.fixture(scope="module")
def problem(make_episode, shallow_config):
    """(learner, parameters, batches, patches)"""
    episodes = [make_episode(0, [4]), make_episode(1, [3, 5])]
    images = ImageTable(episodes, shallow_config)
    learner = Learner(shallow_config, LearnerSettings(OptimiserSettings(learning_rate=1e-2)))
    batches = collate(episodes, images, shallow_config)
    return learner, random_params(shallow_config, 0), batches, images.patch_batch(IMAGE_SETTINGS)


@pytest.mark.parametrize("place", ["device", "host"])
def test_a_reference_scores_as_the_policy_did_before_the_first_update(place, problem):
    learner, params, batches, patches = problem
    state = learner.init(params)
    (expected,) = learner.score(state, batches, patches)
    reference = Reference(learner, state, place=place)
    state, _ = learner.update(state, batches, patches)
    (moved,) = learner.score(state, batches, patches)
    (kept,) = reference.score(batches, patches)
    np.testing.assert_array_equal(kept, expected.log_probs)
    assert np.abs(moved.log_probs - kept).max() > 0.1


def test_on_the_host_parameters_lie_in_its_memory_or_are_numpy_arrays(problem, monkeypatch):
    learner, params, batches, patches = problem
    state = learner.init(params)
    (expected,) = Reference(learner, state).score(batches, patches)
    pinned = Reference(learner, state, place="host")
    assert {x.sharding.memory_kind for x in jax.tree.leaves(pinned.kept)} == {"pinned_host"}
    monkeypatch.setattr(reference_module, "HOST_MEMORY", "a kind that no backend has")
    numpy = Reference(learner, state, place="host")
    assert {type(x) for x in jax.tree.leaves(numpy.kept)} == {np.ndarray}
    for reference in (pinned, numpy):
        np.testing.assert_array_equal(reference.score(batches, patches)[0], expected)


def test_another_place_is_refused(problem):
    learner, params, *_ = problem
    with pytest.raises(ValueError, match="the reference's place is 'disk'; choose one of device, host"):
        Reference(learner, learner.init(params), place="disk")
