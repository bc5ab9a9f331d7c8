"""GlyphSearch questions: answers that follow from the scene, equally likely options, one puzzle a number."""

import collections

import pytest

from vigorl_jax.tasks.glyph_levels import LEVEL_1, LEVEL_2, LEVEL_3, LEVEL_4K, LEVELS
from vigorl_jax.tasks.glyph_questions import options, pose


def _puzzles(level, kind, count):
    posed = (pose(level, 2, index) for index in range(count))
    return [puzzle for puzzle in posed if puzzle.kind == kind]


def _named(puzzle, name):
    return next(sign for sign in puzzle.scene.signs if sign.name == name)


def test_a_letter_question_asks_for_the_letter_of_the_sign_it_names():
    for puzzle in _puzzles(LEVEL_2, "letter", 100):
        name = puzzle.question.removeprefix("Which letter is on the ").removesuffix("?")
        assert puzzle.answer == _named(puzzle, name).letter
        assert puzzle.targets == (_named(puzzle, name),)


def test_a_pair_question_asks_for_two_letters_in_its_order():
    for puzzle in _puzzles(LEVEL_2, "pair", 100):
        names = puzzle.question.removeprefix("Which letters are on the ").removesuffix("?").split(" and the ")
        assert puzzle.answer == " ".join(_named(puzzle, name).letter for name in names)
        assert [sign.name for sign in puzzle.targets] == names


def test_a_same_question_compares_two_letters():
    for puzzle in _puzzles(LEVEL_2, "same", 100):
        asked = puzzle.question.removeprefix("Do the ").removesuffix(" show the same letter?")
        first, second = (_named(puzzle, name) for name in asked.split(" and the "))
        assert puzzle.answer == ("yes" if first.letter == second.letter else "no")
        assert puzzle.targets == (first, second)


def test_a_side_question_compares_the_places_of_two_letters_that_occur_once():
    for puzzle in _puzzles(LEVEL_3, "side", 200):
        words = puzzle.question.removesuffix("?").split()
        first, second = (
            [sign for sign in puzzle.scene.signs if sign.letter == letter] for letter in (words[3], words[-1])
        )
        assert len(first) == len(second) == 1
        assert puzzle.targets == (first[0], second[0])
        offset = first[0].centre[0] - second[0].centre[0]
        assert abs(offset) >= 84
        assert puzzle.answer == ("left" if offset < 0 else "right")


@pytest.mark.parametrize(
    ("level", "kind"), [(LEVEL_1, "letter"), (LEVEL_2, "same"), (LEVEL_2, "pair"), (LEVEL_3, "side")]
)
def test_all_options_are_equally_likely(level, kind):
    answers = collections.Counter(puzzle.answer for puzzle in _puzzles(level, kind, 2400))
    expected = answers.total() / len(options(kind))
    assert set(answers) == set(options(kind))
    assert all(abs(count - expected) < 4.5 * expected**0.5 for count in answers.values())


def test_kinds_are_equally_likely():
    kinds = collections.Counter(pose(LEVEL_4K, 0, index).kind for index in range(400))
    assert all(abs(kinds[kind] - 100) < 40 for kind in LEVEL_4K.kinds)


def test_options_of_an_unknown_kind_are_refused():
    with pytest.raises(ValueError, match="Unknown kind of question 'colour'; choose one of letter"):
        options("colour")


@pytest.mark.parametrize("level", LEVELS.values(), ids=LEVELS)
def test_a_puzzle_depends_on_its_seed_and_number_alone(level):
    puzzles = [pose(level, 0, index) for index in range(20)]
    assert puzzles[::-1] == [pose(level, 0, index) for index in reversed(range(20))]
    assert len({puzzle.scene for puzzle in puzzles}) == 20
    assert pose(level, 1, 0).scene != puzzles[0].scene


def test_puzzle_0_of_seed_0_is_the_one_that_it_always_was():
    puzzle = pose(LEVEL_1, 0, 0)
    assert (puzzle.question, puzzle.answer) == ("Which letter is on the yellow circle?", "Z")
    assert puzzle.targets[0].box == (126, 126, 182, 182)
