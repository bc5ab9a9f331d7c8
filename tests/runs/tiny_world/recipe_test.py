import dataclasses
import itertools

import jax
import numpy as np

from vigorl_jax.runs.tiny_world import model, recipe
from vigorl_jax.runs.tiny_world.recipe import Imitation, Recipe

RECIPE = dataclasses.replace(Recipe(), dialogues=36, batch=6)


def _numbers(first, count, held=RECIPE):
    return [list(recipe._numbers(held, 3, step)) for step in range(first, first + count)]


def test_all_dialogues_come_once_before_any_comes_again_in_another_order():
    once, again = _numbers(0, 6), _numbers(6, 6)
    for numbers in (once, again):
        assert sorted(itertools.chain.from_iterable(numbers)) == list(range(36))
    assert once != again
    assert _numbers(6, 6) == again


def test_dialogues_keep_their_place_in_a_batch_so_that_each_has_a_slip():
    assert all(number % 6 == place for batch in _numbers(0, 20) for place, number in enumerate(batch))


def test_ever_new_dialogues_are_counted_on():
    held = dataclasses.replace(RECIPE, dialogues=None)
    assert _numbers(5, 2, held) == [list(range(30, 36)), list(range(36, 42))]


def test_images_encoded_once_teach_what_images_encoded_anew_do():
    held = dataclasses.replace(RECIPE, comparisons=2, imitation=(Imitation(1),), imitation_rate=1e-3)
    params = model.first_params(held.config, 0)
    losses, taught = [], []
    for dialogues in (6, None):
        one = dataclasses.replace(held, dialogues=dialogues)
        taught.append(recipe.imitate(one, params, 0, lambda step, metrics: losses.append(metrics["loss"])))
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    for a, b in zip(*map(jax.tree.leaves, taught), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
