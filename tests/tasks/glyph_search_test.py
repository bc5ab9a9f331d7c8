"""GlyphSearch as a task: examples, prompts, answers, and the zoom that shows a letter."""

import numpy as np
import pytest

from vigorl_jax.processing.decode import decode_image
from vigorl_jax.processing.images import image_patches, to_device
from vigorl_jax.processing.settings import ImageSettings
from vigorl_jax.reasoning.calls import Zoom
from vigorl_jax.reasoning.prompts import Condition, system_prompt
from vigorl_jax.reasoning.zoom import Edges, ZoomSettings, cut, open_source
from vigorl_jax.tasks import catalog, glyph_search
from vigorl_jax.tasks.glyph_drawing import draw, draw_window
from vigorl_jax.tasks.glyph_levels import LEVEL_1, LEVEL_2, LEVEL_4K
from vigorl_jax.tasks.glyph_questions import pose
from vigorl_jax.tasks.glyph_search import TASK, GlyphExamples, example
from vigorl_jax.tasks.task import ZoomPreset
from vigorl_jax.testing.worker_trip import sent


def test_an_example_shows_and_asks_what_its_puzzle_says():
    puzzle, made = pose(LEVEL_2, 0, 4), example(LEVEL_2, 0, 4)
    assert (made.question, made.answer, made.id) == (puzzle.question, puzzle.answer, "level_2/0/4")
    np.testing.assert_array_equal(decode_image(made.images[0]), draw(puzzle.scene))
    assert made.boxes == tuple(sign.box for sign in puzzle.targets)
    assert made.metadata == {
        "level": "level_2",
        "seed": 0,
        "index": 4,
        "category": puzzle.kind,
        "targets": ", ".join(sign.name for sign in puzzle.targets),
    }


def test_a_4k_image_is_within_the_limits_of_the_decoder():
    assert decode_image(example(LEVEL_4K, 0, 0).images[0]).shape == (2128, 3808, 3)


def test_examples_are_a_sequence_made_on_demand():
    examples = GlyphExamples(LEVEL_1, seed=3, count=4, start=10)
    assert len(examples) == 4
    assert len(list(examples)) == 4
    assert examples[1] == examples[-3] == example(LEVEL_1, 3, 11)
    assert sent(examples)[0] == examples[0]
    with pytest.raises(IndexError, match=r"GlyphExamples\(.* has no example 4\."):
        examples[4]


def test_the_task_is_in_the_catalog_with_a_zoom_that_keeps_pixels():
    assert catalog.get("glyph_search") is TASK
    assert TASK.zoom == ZoomPreset(offset=56, side=112, dot=False)


@pytest.mark.parametrize("condition", Condition)
def test_the_prompt_says_what_is_asked_and_how_to_answer(condition):
    prompt = system_prompt("glyph_search", condition)
    for words in ("coloured signs", "too small to be read", "one letter", "yes or no", "left or right"):
        assert words in prompt


@pytest.mark.parametrize(
    ("answer", "accuracy"), [("T H", 1), ("t h", 1), (" T  H. ", 1), ("H T", 0), ("T", 0), ("T H L", 0)]
)
def test_letters_are_compared_in_order(answer, accuracy):
    puzzle = pose(LEVEL_2, 0, 0)
    asked = glyph_search.as_example(puzzle, 0, 0)
    asked = type(asked)(**{**vars(asked), "answer": "T H"})
    assert TASK.accuracy(answer, asked) == accuracy
    assert TASK.read(answer, asked) == answer.strip()
    assert TASK.read(" ", asked) is None


def test_a_zoom_of_an_episode_brings_the_pixels_of_its_window():
    scene = pose(LEVEL_1, 0, 0).scene  # Its sign is at (126, 126, 182, 182).
    settings = ImageSettings(max_pixels=112 * 112)
    source = open_source(draw(scene), settings, ZoomSettings(TASK.zoom, Edges.SHIFT))
    assert source.view.frame.size == LEVEL_1.overview
    (view,) = cut(source, [(Zoom((38, 38)), ())])
    assert view.frame.window == (98, 98, 210, 210)
    window = image_patches(to_device(draw_window(scene, view.frame.window)), settings)
    count = window.count
    np.testing.assert_array_equal(view.patches.pixels[:count], window.pixels[:count])
