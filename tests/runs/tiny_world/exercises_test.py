"""Exercises say where signs truly are, and which letter a view truly shows."""

import numpy as np
import pytest

from vigorl_jax.runs.tiny_world import model
from vigorl_jax.runs.tiny_world.exercises import Exercises
from vigorl_jax.tasks import answers, tags
from vigorl_jax.tasks.glyph_levels import LEVEL_1

SETTINGS = model.image_settings()


@pytest.fixture(scope="module")
def exercises():
    return Exercises.draw(LEVEL_1, 0, 8, model.tokenizer(), SETTINGS)


def sentences(text):
    return [f"{sentence}." for sentence in text.strip().removesuffix(".").split(". ")]


def test_a_description_names_every_sign_at_its_pixel_of_the_overview(exercises):
    scene, view = exercises.overviews[0]
    episode = exercises.describe(scene, view, np.random.default_rng(0))
    assert sorted(sentences(episode.turns[0].text)) == sorted(
        f"The {sign.name} is at ({sign.centre[0] // 4}, {sign.centre[1] // 4})." for sign in scene.signs
    )


def test_signs_are_pointed_at_in_the_order_of_the_question(exercises):
    scene, view = exercises.overviews[0]
    episode = exercises.point(scene, view, np.random.default_rng(0))
    (thought,) = tags.blocks(episode.turns[0].text, tags.THINK)
    names = [sentence.removeprefix("The ").split(" is at")[0] for sentence in sentences(thought)]
    assert f"Where are the signs? The {' and the '.join(names)}?" in episode.segments[0].text


def test_each_scene_of_a_batch_comes_twice_with_the_same_places(exercises):
    episodes = exercises.batch(np.random.default_rng(1), 8, 0)
    assert [episode.num_tokens > 60 for episode in episodes] == [False] * 6 + [True] * 2
    for once, again in zip(episodes[:4], episodes[4:], strict=True):
        assert once.views == again.views
        assert set(answers.points(once.turns[0].text)) == set(answers.points(again.turns[0].text))


def test_reading_tells_the_letter_of_a_sign_that_the_view_shows(exercises):
    for sign, view in exercises.closer:
        (turn,) = exercises.read(sign, view).turns
        assert turn.text == f" The {sign.name} shows {sign.letter}."
        x0, y0, x1, y1 = view.frame.window
        assert x0 <= sign.box[0] + 22
        assert sign.box[2] - 20 <= x1
        assert y0 <= sign.box[1] + 20
        assert sign.box[3] - 18 <= y1


def test_only_the_caption_is_learned(exercises):
    episode = exercises.read(*exercises.closer[0])
    assert episode.mask.tolist() == [0] * 18 + [1] * 7
