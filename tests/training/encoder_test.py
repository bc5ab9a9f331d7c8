"""What a frozen tower makes of a step's images is the same wherever it comes from, and updates are too."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vigorl_jax.qwen25vl.model import bind
from vigorl_jax.sampling import call_sizes
from vigorl_jax.sampling.image_store import ImageStore
from vigorl_jax.sampling.requests import Image
from vigorl_jax.sampling.seen_images import SeenImages
from vigorl_jax.sampling.shapes import Shapes
from vigorl_jax.testing.models import random_params
from vigorl_jax.testing.sampling import IMAGE_SETTINGS
from vigorl_jax.training.batch import collate
from vigorl_jax.training.encoder import Encoder
from vigorl_jax.training.image_table import ImageTable, UnitTable
from vigorl_jax.training.learner import Learner
from vigorl_jax.training.learner_settings import LearnerSettings
from vigorl_jax.training.optimiser import OptimiserSettings

pytestmark = pytest.mark.usefixtures("quick_compiles")

ADAM = OptimiserSettings(learning_rate=4e-2, eps=1e-3, weight_decay=0.0)


@pytest.fixture(scope="module")
def episodes(make_episode, shared_view):
    """Three episodes with crops, two of them on one image: five images of 6 or 4 units."""
    return [
        make_episode(i, turns, view=shared_view if i < 2 else None)
        for i, turns in enumerate([[4, 3], [5], [2, 2]])
    ]


@pytest.fixture(scope="module")
def params(shallow_config):
    return random_params(shallow_config, 0)


@pytest.fixture(scope="module")
def learner(shallow_config):
    """Makes learners of what is frozen."""
    return functools.cache(
        lambda frozen: Learner(shallow_config, LearnerSettings(optimiser=ADAM, frozen=frozen))
    )


def sampled(episodes, config, params, dtype=jnp.float32) -> SeenImages:
    """What a sampler has seen that met the images one by one, in a store that holds few of them."""
    seen = SeenImages()
    store = ImageStore(config, Shapes(4, 64, (32,), (8,), 8), IMAGE_SETTINGS, dtype)
    store.at_version(1, seen)
    for episode in episodes:
        for view in episode.views:
            store.add(params, [Image.of(view.patches)])
    return seen


def test_embeddings_lie_image_after_image_and_are_those_of_the_tower(
    learner, episodes, params, shallow_config
):
    ours, table, whole = (
        learner("vision"),
        UnitTable(episodes, shallow_config),
        ImageTable(episodes, shallow_config),
    )
    assert (table.units, len(table)) == (2 * 6 + 2 * 4, 4)
    units = np.asarray(Encoder(ours, IMAGE_SETTINGS)(ours.init(params), table, 24))
    embeds = jax.jit(lambda params, images: bind(shallow_config, params).visual(images))(
        params, whole.patch_batch(IMAGE_SETTINGS)
    )
    for episode in episodes:
        np.testing.assert_allclose(units[table.slots(episode)], embeds[whole.slots(episode)], atol=1e-5)
    assert units.shape == (24, shallow_config.text.width)
    assert not units[table.units :].any()


def test_the_sampler_s_embeddings_are_the_learner_s_and_none_is_encoded_again(
    learner, episodes, params, shallow_config, monkeypatch
):
    ours, table = learner("vision"), UnitTable(episodes, shallow_config)
    state, encoder = ours.init(params), Encoder(ours, IMAGE_SETTINGS)
    seen = sampled(episodes, shallow_config, params)
    alone = encoder(state, table, 24)
    some = np.asarray(encoder(state, table, 24, sampled(episodes[:1], shallow_config, params)))
    monkeypatch.setattr(ours, "encode", None)
    taken = np.asarray(encoder(state, table, 24, seen))
    for episode in episodes:
        made = np.concatenate([seen.find(view.patches) for view in episode.views])
        np.testing.assert_array_equal(taken[table.slots(episode)], made)
    # Calls of other sizes sum in another order.
    np.testing.assert_allclose(taken, alone, atol=1e-5)
    np.testing.assert_allclose(some, alone, atol=1e-5)
    np.testing.assert_array_equal(some[table.slots(episodes[0])], taken[table.slots(episodes[0])])


def test_updates_with_either_embeddings_are_equal_to_rounding(learner, episodes, params, shallow_config):
    ours, table = learner("vision"), UnitTable(episodes, shallow_config)
    seen, ends = sampled(episodes, shallow_config, params), []
    for known in (None, seen):
        state = ours.init(params)
        images = Encoder(ours, IMAGE_SETTINGS)(state, table, 24, known)
        state, metrics = ours.update(state, collate(episodes, table, shallow_config), images)
        ends.append((jax.tree.leaves(ours.params(state)), metrics))
    assert ends[1][1] == pytest.approx(ends[0][1], rel=1e-5)
    for one, other in zip(ends[0][0], ends[1][0], strict=True):
        np.testing.assert_allclose(one, other, atol=4e-2 * 1e-4)


def test_a_trained_merger_starts_from_what_the_frozen_blocks_made(learner, episodes, params, shallow_config):
    ours, table, whole = (
        learner("tower"),
        UnitTable(episodes, shallow_config),
        ImageTable(episodes, shallow_config),
    )
    state, seen = ours.init(params), sampled(episodes, shallow_config, params)
    hidden = Encoder(ours, IMAGE_SETTINGS)(state, table, 20, seen)
    assert hidden.shape == (20, 4, shallow_config.vision.width)
    _, metrics = ours.update(state, collate(episodes, table, shallow_config), hidden)
    _, expected = ours.update(
        ours.init(params), collate(episodes, whole, shallow_config), whole.patch_batch(IMAGE_SETTINGS)
    )
    assert metrics == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_embeddings_of_another_dtype_are_not_taken(learner, episodes, params, shallow_config):
    ours, table = learner("vision"), UnitTable(episodes, shallow_config)
    state, encoder = ours.init(params), Encoder(ours, IMAGE_SETTINGS)
    coarse = sampled(episodes, shallow_config, params, jnp.bfloat16)
    np.testing.assert_array_equal(encoder(state, table, 24, coarse), encoder(state, table, 24))


def test_calls_are_of_bounded_size_and_few_shapes(make_episode, shallow_config, monkeypatch):
    """Eleven crops of 16 patches, of which a call takes four, and a view of 24 in rows of a bucket of its own."""
    table = UnitTable([make_episode(0, [2] * 12)], shallow_config)
    size = table.images[1].count
    monkeypatch.setattr(call_sizes, "CPU_MAX_PATCHES", 5 * 64)
    calls = list(table.calls(range(len(table))))
    assert sorted(number for numbers, _ in calls for number in numbers) == list(range(12))
    assert all(layout.source.size <= 5 * 64 for _, layout in calls)
    assert len({layout.bucket for _, layout in calls}) <= 2 + (size == 16)
