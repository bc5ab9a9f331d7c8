"""Exercises say where signs truly are, and which letter a view truly shows."""

import re

import numpy as np
import pytest

from vigorl_jax.runs.tiny_world import model
from vigorl_jax.runs.tiny_world.exercises import Exercises
from vigorl_jax.tasks import tags
from vigorl_jax.tasks.glyph_levels import LEVEL_1

SETTINGS = model.image_settings()


@pytest.fixture(scope="module")
def exercises():
    return Exercises.draw(LEVEL_1, 0, 8, model.tokenizer(), SETTINGS)


def place(sign):
    return sign.centre[0] // 4, sign.centre[1] // 4


def test_a_caption_names_a_sign_at_its_pixel_of_the_overview(exercises):
    scene, view = exercises.overviews[0]
    for sign in scene.signs:
        (turn,) = exercises.caption(sign, view).turns
        assert turn.text == f" The {sign.name} is at {place(sign)}."


def test_a_question_about_a_sign_is_answered_with_the_same_sentence(exercises):
    scene, view = exercises.overviews[1]
    episode = exercises.ask(scene.signs[2], view)
    assert f"Where is the {scene.signs[2].name}?" in episode.segments[0].text
    (thought,) = tags.blocks(episode.turns[0].text, tags.THINK)
    assert thought.strip() == f"The {scene.signs[2].name} is at {place(scene.signs[2])}."


def test_reading_tells_the_letter_of_a_sign_that_the_view_shows(exercises):
    for scene, view in exercises.closer:
        sign = scene.signs[0]
        (turn,) = exercises.read(sign, view).turns
        assert turn.text == f" The {sign.name} shows {sign.letter}."
        x0, y0, x1, y1 = view.frame.window
        assert x0 <= sign.box[0] + 22
        assert sign.box[2] - 20 <= x1
        assert y0 <= sign.box[1] + 20
        assert sign.box[3] - 18 <= y1


def test_a_comparison_is_true_and_says_the_same_as_often_as_not(exercises):
    rng = np.random.default_rng(2)
    told = [exercises.compare(rng) for _ in range(200)]
    for episode in told:
        first, second = re.findall(r" shows (\w)", episode.segments[0].text)
        word = "the same" if first == second else "another"
        assert episode.turns[0].text == f": {word} letter."
    # 200 throws of a fair coin: more than 4 standard deviations off is no chance.
    assert abs(sum(": the same" in episode.turns[0].text for episode in told) - 100) < 29


def test_a_batch_has_so_many_of_each_kind_on_pictures_that_differ(exercises):
    episodes = exercises.batch(np.random.default_rng(1), captions=3, questions=2, readings=4)
    texts = [episode.turns[0].text for episode in episodes]
    assert [text.startswith("<think>") for text in texts] == [False] * 3 + [True] * 2 + [False] * 4
    assert [" shows " in text for text in texts] == [False] * 5 + [True] * 4
    assert len({id(view.patches) for episode in episodes for view in episode.views}) == 9


def test_every_picture_has_its_place_in_an_album(exercises):
    pictures = {id(view.patches) for _, view in (*exercises.overviews, *exercises.closer)}
    assert {id(view.patches) for one in exercises.all_views() for view in one.views} == pictures


def test_only_the_caption_is_learned(exercises):
    scene, view = exercises.closer[0]
    assert exercises.read(scene.signs[0], view).mask.tolist() == [0] * 18 + [1] * 7
