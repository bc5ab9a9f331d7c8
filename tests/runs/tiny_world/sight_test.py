"""The tower's first lessons tell truly what each token shows, and are learned by the tower alone."""

import jax
import numpy as np

from vigorl_jax.runs.tiny_world import lexicon, model, sight, views
from vigorl_jax.runs.tiny_world.exercises import Exercises
from vigorl_jax.tasks.glyph_levels import LEVEL_1, LEVEL_2
from vigorl_jax.tasks.glyph_scenes import Scene, Sign
from vigorl_jax.training.optimiser import OptimiserSettings

SETTINGS, CONFIG = model.image_settings(), model.config()
SCENE = Scene(LEVEL_2, (Sign("red", "circle", "T", (210, 98)), Sign("blue", "square", "H", (322, 126))))


def seen(overviews, closer):
    return sight.look(overviews, closer, CONFIG, SETTINGS)


def test_an_overview_asks_for_each_name_at_the_token_of_its_middle_and_for_its_place():
    sights = seen([(SCENE, views.overview(SCENE, SETTINGS))], [])
    # Tokens are 112 pixels of the original: the second one of the first row, and the third one of the second row.
    red, blue = lexicon.NAMES.index("red circle"), lexicon.NAMES.index("blue square")
    assert sorted(zip(*np.nonzero(sights.present), strict=True)) == [(0, 1, red), (0, 6, blue)]
    assert (sights.columns[0, 1, red], sights.rows[0, 1, red]) == (7, 3)
    assert (sights.columns[0, 6, blue], sights.rows[0, 6, blue]) == (11, 4)
    assert (sights.columns >= 0).sum() == 2
    assert (sights.letters == -1).all()


def test_a_closer_view_asks_for_letters_that_stand_in_it_whole():
    # A zoom at (52, 24) shows 154 to 266 by 42 to 154 of the original, and nothing of the blue square's middle.
    sights = seen([], [(SCENE, views.zoom(SCENE, (52, 24), SETTINGS))])
    ((_, token, name),) = zip(*np.nonzero(sights.present), strict=True)
    assert lexicon.NAMES[name] == "red circle"
    assert sights.letters[0, token] == 1 + "LOTXZH".index("T")
    assert (np.delete(sights.letters[0], token) == 0).all()
    assert (sights.columns == -1).all()


def test_a_letter_that_is_cut_off_is_not_asked_for():
    cut = Scene(LEVEL_2, (Sign("red", "circle", "T", (196, 98)),))
    sights = seen([], [(cut, views.zoom(cut, (63, 24), SETTINGS))])
    assert sights.present.sum() == 1
    assert sights.letters.min() == -1
    assert (sights.letters <= 0).all()


def test_the_words_of_a_name_are_its_colour_and_its_shape():
    tokenizer = model.tokenizer()
    words = [tokenizer.decode([token]) for token in sight.word_ids()]
    assert words[:2] == [" red", " green"]
    assert words[-1] == " diamond"
    assert len(words) == len(sight.WORDS)


def test_letters_are_read_better_than_by_chance_after_forty_steps_and_the_language_model_is_as_it_was():
    exercises = Exercises.draw(LEVEL_1, 0, 128, model.tokenizer(), SETTINGS)
    rng = np.random.default_rng(0)
    first, told = model.first_params(CONFIG, 0), []
    taught = sight.teach(
        first,
        CONFIG,
        LEVEL_1,
        lambda step: seen(*exercises.pictures(rng, 24, 8)),
        steps=40,
        settings=OptimiserSettings("muon", 1e-3, warmup_steps=10, muon_rms=1.0, b2=0.98, weight_decay=0.0),
        on_step=lambda step, metrics: told.append(metrics),
    )
    assert told[0]["read"] == 0
    assert np.mean([metrics["read"] for metrics in told[-3:]]) > 0.4  # 1/6 by chance
    assert told[-1]["loss"] < told[0]["loss"] / 2
    jax.tree.map(np.testing.assert_array_equal, taught["language_model"], first["language_model"])
    assert not np.array_equal(
        taught["visual"]["merger"]["fc1"]["kernel"], first["visual"]["merger"]["fc1"]["kernel"]
    )
