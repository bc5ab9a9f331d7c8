"""The scripted teacher: right answers, stated bias, looks that no rule refuses."""

import math
import re

import numpy as np
import pytest

from vigorl_jax.tasks.glyph_levels import LEVEL_1, LEVEL_2, LEVEL_3, LEVELS, Level
from vigorl_jax.tasks.glyph_questions import Puzzle, pose
from vigorl_jax.tasks.glyph_scenes import Scene, Sign
from vigorl_jax.tasks.glyph_teacher import BIASED, Aim, direct, self_correcting

EXACT = Aim(shrink=1.0, spread=0.0)
# Centres in overview pixels: (10.5, 10.5), (80.5, 38.5), (101.5, 94.5).
SIGNS = (
    Sign("red", "circle", "T", (42, 42)),
    Sign("blue", "square", "H", (322, 154)),
    Sign("red", "square", "L", (406, 378)),
)
SCENE = Scene(LEVEL_2, SIGNS)


def _rng():
    return np.random.default_rng(0)


def _puzzle(kind, answer, *targets):
    return Puzzle(SCENE, kind, "asked", answer, targets)


def _lines(chain):
    return [*(thought.text for thought in chain.thoughts), chain.conclusion, chain.answer]


def test_a_direct_chain_looks_at_each_sign_and_reports_it():
    assert _lines(direct(_puzzle("pair", "T H", *SIGNS[:2]), _rng(), EXACT)) == [
        "The red circle is at (10, 10).",
        "The red circle shows T. The blue square is at (80, 38).",
        "The blue square shows H.",
        "T H",
    ]


def test_a_self_correcting_chain_takes_a_sign_of_the_same_colour_back():
    assert _lines(self_correcting(_puzzle("letter", "T", SIGNS[0]), _rng(), EXACT)) == [
        "The red circle is at (101, 94).",
        "This is the red square. Wait, the red circle is at (10, 10).",
        "The red circle shows T.",
        "T",
    ]


def test_letters_are_compared_in_the_conclusion():
    chain = direct(_puzzle("same", "no", *SIGNS[:2]), _rng(), EXACT)
    assert chain.conclusion == "The blue square shows H: another letter."
    chain = direct(_puzzle("same", "yes", *SIGNS[:2]), _rng(), EXACT)
    assert chain.conclusion == "The blue square shows H: the same letter."


def test_a_side_chain_looks_until_both_letters_are_found():
    lengths = set()
    for seed in range(20):
        chain = direct(_puzzle("side", "left", *SIGNS[:2]), np.random.default_rng(seed), EXACT)
        texts = " ".join([thought.text for thought in chain.thoughts] + [chain.conclusion])
        assert "The red circle shows T" in texts
        assert "The blue square shows H" in texts
        assert chain.conclusion.endswith("The red circle is left of the blue square.")
        lengths.add(len(chain.thoughts))
    assert lengths == {2, 3}


def test_without_another_sign_there_is_nothing_to_take_back():
    level = Level("two", (448, 448), (2, 2), kinds=("pair",))
    puzzle = Puzzle(Scene(level, SIGNS[:2]), "pair", "asked", "T H", SIGNS[:2])
    assert self_correcting(puzzle, _rng()) == direct(puzzle, _rng())


@pytest.mark.parametrize("level", LEVELS.values(), ids=LEVELS)
@pytest.mark.parametrize("style", [direct, self_correcting])
def test_chains_end_in_the_reference_answer_and_never_look_twice_at_a_place(level, style):
    for index in range(60):
        puzzle = pose(level, 3, index)
        chain = style(puzzle, np.random.default_rng(index))
        points = [thought.point for thought in chain.thoughts]
        assert chain.answer == puzzle.answer
        assert all(0 <= x < level.overview[0] and 0 <= y < level.overview[1] for x, y in points)
        assert all(math.dist(a, b) >= 10 for i, a in enumerate(points) for b in points[:i])
        assert all(thought.text.endswith(f"{thought.point}.") for thought in chain.thoughts)


def test_self_correction_adds_one_look():
    for index in range(60):
        puzzle = pose(LEVEL_2, 4, index)
        lengths = [len(style(puzzle, _rng()).thoughts) for style in (direct, self_correcting)]
        assert lengths == [len(puzzle.targets), len(puzzle.targets) + 1]


def test_points_have_the_stated_bias_and_noise():
    sign = Sign("red", "circle", "T", (378, 70))  # (94.5, 17.5) in the overview, whose middle is (56, 56).
    rng = np.random.default_rng(0)
    # Pixel k covers k to k + 1: its middle is what was aimed at, up to rounding.
    points = np.array([BIASED.point(sign, LEVEL_1, (), rng) for _ in range(4000)]) + 0.5
    np.testing.assert_allclose(points.mean(axis=0), [56 + 0.7 * 38.5, 56 - 0.7 * 38.5], atol=0.3)
    np.testing.assert_allclose(points.std(axis=0), 4.0, atol=0.2)


def test_a_zoom_at_the_teachers_point_shows_the_letter_6_times_in_10():
    """The plateau of imitation: windows of 112 that begin at multiples of 28, all of the plate inside."""
    shown = 0
    for index in range(1000):
        puzzle = pose(LEVEL_1, 5, index)
        point = direct(puzzle, np.random.default_rng(index)).thoughts[0].point
        low = [min(max(4 * value + 2 - 56, 0), 336) // 28 * 28 for value in point]
        plate = [(c - 10, c + 10) for c in puzzle.targets[0].centre]
        shown += all(start <= a and b <= start + 112 for start, (a, b) in zip(low, plate, strict=True))
    assert 0.5 < shown / 1000 < 0.7


def test_points_that_cannot_be_kept_apart_are_refused():
    lost = Aim(shrink=0.0, spread=0.0)
    with pytest.raises(
        ValueError, match=re.escape("finds no point for the blue square that is 10 pixels from")
    ):
        direct(_puzzle("pair", "T H", *SIGNS[:2]), _rng(), lost)


def test_level_3_is_searched_by_letter():
    puzzles = [pose(LEVEL_3, 6, index) for index in range(80)]
    lengths = [len(direct(p, _rng()).thoughts) for p in puzzles if p.kind == "side"]
    assert min(lengths) >= 2
    assert max(lengths) > 5
