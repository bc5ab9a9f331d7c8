"""The teacher's dialogues, written by the rules under which the model is sampled later."""

import numpy as np
import pytest

from vigorl_jax.reasoning.episode import Status
from vigorl_jax.reasoning.prompts import Condition
from vigorl_jax.runs.tiny_world import dialogues, model
from vigorl_jax.tasks.glyph_levels import LEVEL_1, LEVEL_2, LEVEL_3
from vigorl_jax.tasks.glyph_questions import pose
from vigorl_jax.tasks.glyph_teacher import BIASED, Aim

SETTINGS, TOKENIZER = model.image_settings(), model.tokenizer()


EXACT = Aim(shrink=1, spread=0)


def made(condition, aim=EXACT, slips=0.0):
    return dialogues.Dialogues(LEVEL_1, 5, condition, [dialogues.scripted(aim, slips)], TOKENIZER, SETTINGS)


@pytest.mark.parametrize("condition", list(Condition))
def test_a_dialogue_ends_with_the_right_answer_in_every_condition(condition):
    for index in range(4):
        episode = made(condition)[index]
        assert (episode.status, episode.answer) == (Status.ANSWERED, pose(LEVEL_1, 5, index).answer)
        assert len(episode.crops) == (condition is Condition.MULTITURN)
        assert bool(episode.points) == (condition in (Condition.GROUNDED, Condition.MULTITURN))


def test_an_exact_teacher_zooms_to_the_sign():
    for index in range(8):
        (zoom,) = made(Condition.MULTITURN)[index].zooms
        x, y = pose(LEVEL_1, 5, index).targets[0].centre
        x0, y0, x1, y1 = zoom.window
        assert x0 + 28 <= x <= x1 - 28
        assert y0 + 28 <= y <= y1 - 28


def test_a_biased_teacher_points_towards_the_middle():
    middle = np.array(LEVEL_1.canvas) / 2
    shrunk = []
    for index in range(64):
        (zoom,) = made(Condition.MULTITURN, Aim(shrink=0.7, spread=0))[index].zooms
        centre = np.array(pose(LEVEL_1, 5, index).targets[0].centre)
        shrunk.append(np.linalg.norm(zoom.point - middle) / np.linalg.norm(centre - middle))
    assert np.mean(shrunk) == pytest.approx(0.7, abs=0.03)


def test_a_slip_is_taken_back_with_a_second_zoom():
    episode = made(Condition.MULTITURN, slips=1.0)[0]
    assert len(episode.crops) == 2
    assert "Wait, the" in episode.turns[1].text


@pytest.mark.parametrize(
    ("level", "zooms", "longest"), [(LEVEL_1, 2, 152), (LEVEL_2, 3, 208), (LEVEL_3, 10, 600)]
)
def test_a_level_has_room_for_its_looks_and_one_more(level, zooms, longest):
    limits = dialogues.limits(Condition.MULTITURN, level)
    assert (limits.max_zooms, limits.max_turns, limits.max_tokens) == (zooms, zooms + 1, longest)
    slipping = dialogues.Dialogues(
        level,
        0,
        Condition.MULTITURN,
        [dialogues.scripted(BIASED, 1.0)],
        TOKENIZER,
        model.image_settings(level),
    )
    for index in range(8):
        episode = slipping[index]
        assert episode.status is Status.ANSWERED
        assert episode.num_tokens <= longest
        assert max(turn.num_tokens for turn in episode.turns) <= limits.max_turn_tokens


def test_single_turns_have_no_zooms_on_any_level():
    assert {dialogues.limits(Condition.GROUNDED, level).turns for level in (LEVEL_1, LEVEL_2)} == {1}


def test_the_same_number_gives_the_same_dialogue():
    assert made(Condition.MULTITURN)[3].token_ids.tolist() == made(Condition.MULTITURN)[3].token_ids.tolist()
