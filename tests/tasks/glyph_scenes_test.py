"""GlyphSearch scenes: what stands where, over a few hundred drawn by chance."""

import collections
import itertools

import numpy as np
import pytest

from vigorl_jax.tasks.glyph_levels import LEVEL_1, LEVEL_2, LEVEL_3, LEVEL_4K, LEVELS, Level
from vigorl_jax.tasks.glyph_scenes import Sign, draw_scene


def _scenes(level, count=200):
    return [draw_scene(level, np.random.default_rng((5, index))) for index in range(count)]


def test_a_sign_has_a_name_and_a_box_around_its_centre():
    sign = Sign("red", "circle", "T", (42, 70))
    assert (sign.name, sign.box) == ("red circle", (14, 42, 70, 98))


def test_each_sign_of_level_1_lies_in_one_merged_token_of_its_own():
    for scene in _scenes(LEVEL_1):
        # A token is 28 pixels of the overview, which are 112 of the original.
        tokens = [[edge // 112 for edge in (x0, y0, x1 - 1, y1 - 1)] for x0, y0, x1, y1 in _boxes(scene)]
        assert all((x0, y0) == (x1, y1) for x0, y0, x1, y1 in tokens)
        assert len({(x0, y0) for x0, y0, _, _ in tokens}) == 3


def _boxes(scene):
    return [sign.box for sign in scene.signs]


@pytest.mark.parametrize("level", LEVELS.values(), ids=LEVELS)
def test_letters_have_one_phase_inside_the_patches_of_a_zoom(level):
    centres = [sign.centre for scene in _scenes(level, 30) for sign in scene.signs]
    assert {(x % 28, y % 28) for x, y in centres} == {(14, 14)}


@pytest.mark.parametrize("level", LEVELS.values(), ids=LEVELS)
def test_signs_are_inside_the_canvas_apart_and_of_different_names(level):
    for scene in _scenes(level, 60):
        width, height = level.canvas
        assert all(min(x0, y0) >= 0 and x1 <= width and y1 <= height for x0, y0, x1, y1 in _boxes(scene))
        assert len({sign.name for sign in scene.signs}) == len(scene.signs)
        for a, b in itertools.combinations(scene.signs, 2):
            distance = max(abs(p - q) for p, q in zip(a.centre, b.centre, strict=True))
            assert distance >= 56 + 28


def test_level_1_shows_three_colours():
    assert {len({sign.colour for sign in scene.signs}) for scene in _scenes(LEVEL_1)} == {3}


@pytest.mark.parametrize("level", [LEVEL_2, LEVEL_3, LEVEL_4K], ids=lambda level: level.name)
def test_distractors_share_the_colour_of_the_first_sign_and_no_others_do(level):
    counts = collections.Counter(
        sum(sign.colour == scene.signs[0].colour for sign in scene.signs) - 1 for scene in _scenes(level)
    )
    assert set(counts) == set(range(level.distractors[0], level.distractors[1] + 1))
    assert {len(scene.signs) for scene in _scenes(level)} == set(range(level.signs[0], level.signs[1] + 1))


def test_colours_shapes_letters_and_places_are_uniform():
    signs = [sign for scene in _scenes(LEVEL_1, 1000) for sign in scene.signs]
    for count, values in (
        (6, [sign.colour for sign in signs]),
        (3, [sign.shape for sign in signs]),
        (6, [sign.letter for sign in signs]),
        (64, [sign.centre for sign in signs]),
    ):
        found = collections.Counter(values)
        assert len(found) == count
        # 3,000 draws: five standard deviations of a binomial count.
        expected = 3000 / count
        assert all(abs(number - expected) < 5 * expected**0.5 for number in found.values())


def test_the_fullest_scenes_can_be_drawn():
    full = Level("full", (448, 448), (7, 7), distractors=(2, 2), lattice=28)
    named = Level("named", (1120, 1120), (16, 16))
    assert {len(scene.signs) for scene in _scenes(full, 300)} == {7}
    assert {len(scene.signs) for scene in _scenes(named, 50)} == {16}
