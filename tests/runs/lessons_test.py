"""The lessons of a run: their programs are compiled once, though no step is like another."""

import dataclasses

import jax
import numpy as np
import pytest

from vigorl_jax.runs.learning_settings import RowSettings
from vigorl_jax.runs.lessons import Lessons
from vigorl_jax.testing.compilations import compilations
from vigorl_jax.testing.models import random_params, tiny_config
from vigorl_jax.testing.sampling import IMAGE_SETTINGS
from vigorl_jax.training.learner import Learner
from vigorl_jax.training.learner_settings import LearnerSettings
from vigorl_jax.training.settled_shapes import SettledShapes


@pytest.fixture(scope="module")
def learner():
    config = tiny_config()
    text = dataclasses.replace(config.text, num_layers=1)
    vision = dataclasses.replace(config.vision, depth=1, full_attention_blocks=(0,))
    return Learner(dataclasses.replace(config, text=text, vision=vision), LearnerSettings())


def test_later_steps_of_a_run_compile_nothing(learner, make_episode):
    """Steps of 8 episodes with 5 to 8 learned tokens: rows of 14 or 16 tokens, 5 to 8 targets."""
    rng, shapes = np.random.default_rng(0), SettledShapes()
    lessons = Lessons(learner, RowSettings(micro_rows=4), IMAGE_SETTINGS)
    state = learner.init(random_params(learner.config, 0))

    def step(most: int) -> None:
        nonlocal state
        sizes = [most, *rng.integers(5, most + 1, 7)]
        episodes = [make_episode(str(i), sampled=int(size)) for i, size in enumerate(sizes)]
        batches, images = lessons(state, episodes, shapes)
        state, _ = learner.update(state, batches, images)

    step(8)
    with compilations() as seconds:
        for most in (7, 6, 8, 7, 6):
            step(most)
    assert seconds == []


def test_rows_beyond_the_settled_shape_change_nothing(learner, make_episode):
    """What a larger step has left behind is padding to a smaller one."""
    lessons, used = Lessons(learner, RowSettings(micro_rows=2), IMAGE_SETTINGS), SettledShapes()
    state = learner.init(random_params(learner.config, 0))
    large, small = ([make_episode(f"{n}{i}", sampled=n) for i in range(2)] for n in (8, 6))
    lessons(state, large, used)
    ends = []
    for shapes in (SettledShapes(), used):
        state = learner.init(random_params(learner.config, 0))
        batches, images = lessons(state, small, shapes)
        state, metrics = learner.update(state, batches, images)
        ends.append((batches[0].tokens.shape, metrics, jax.tree.leaves(learner.params(state))))
    assert [shape for shape, *_ in ends] == [(2, 14), (2, 16)]
    assert ends[0][1] == pytest.approx(ends[1][1], rel=1e-5)
    for one, other in zip(ends[0][2], ends[1][2], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-7)


def test_rows_have_room_for_as_many_targets_as_the_settings_say(learner, make_episode):
    """5 targets a row take the room of 24; 28 take what they need."""
    lessons = Lessons(learner, RowSettings(row_targets=24), IMAGE_SETTINGS)
    state = learner.init(random_params(learner.config, 0))
    for sampled, room in ((5, 24), (28, 28)):
        (batch,), _ = lessons(state, [make_episode("a", sampled=sampled)], SettledShapes())
        assert batch.targets.tokens.shape == (1, room)
        assert batch.targets.mask.sum() == sampled
