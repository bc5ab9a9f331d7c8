"""Chains of thoughts become turns that the one grammar reads back."""

import numpy as np
import pytest

from vigorl_jax.reasoning import chains, gated_rewards, prompts, turns
from vigorl_jax.reasoning.calls import FRACTIONAL_BOX_CALL, Zoom
from vigorl_jax.reasoning.prompts import Condition
from vigorl_jax.reasoning.turns import Answer
from vigorl_jax.tasks.chain import Chain, Thought
from vigorl_jax.tasks.glyph_levels import LEVELS
from vigorl_jax.tasks.glyph_questions import pose
from vigorl_jax.tasks.glyph_teacher import direct, self_correcting

CHAIN = Chain((Thought("A sign hangs at (31, 77).", (31, 77)),), "The sign shows T.", "T")


def test_each_thought_becomes_a_zoom_and_the_conclusion_an_answer():
    assert chains.write_turns(CHAIN) == [
        "<think> A sign hangs at (31, 77). </think>\n<tool_call>\n"
        '{"name": "search_coordinate", "arguments": {"coordinate": [31, 77]}}\n</tool_call>',
        "<think> The sign shows T. </think>\n<answer> T </answer>",
    ]


def test_a_single_turn_holds_all_thoughts():
    text = chains.write_single_turn(CHAIN)
    assert text == "<think> A sign hangs at (31, 77).\nThe sign shows T. </think>\n<answer> T </answer>"
    assert gated_rewards.text_grounded(text, "T")["overall"] == 1.0


def test_a_form_that_takes_boxes_is_refused():
    with pytest.raises(ValueError, match="needs a box"):
        chains.write_turns(CHAIN, FRACTIONAL_BOX_CALL)


@pytest.mark.parametrize("level", LEVELS.values(), ids=LEVELS)
@pytest.mark.parametrize("style", [direct, self_correcting])
def test_scripted_chains_are_read_back_and_earn_the_full_reward(level, style):
    observation = "".join(prompts.observation())
    for index in range(25):
        puzzle = pose(level, 8, index)
        chain = style(puzzle, np.random.default_rng(index))
        written, points = chains.write_turns(chain), []
        for text, thought in zip(written[:-1], chain.thoughts, strict=True):
            turn = turns.parse(text, frame_size=level.overview, earlier_points=points)
            assert turn == Zoom(thought.point)
            points.append(thought.point)
        assert turns.parse(written[-1]) == Answer(puzzle.answer)
        reward = gated_rewards.text_multiturn(observation.join(written), puzzle.answer)
        assert reward["accuracy"] == 1.0
        assert reward["overall"] == pytest.approx(0.6 + 0.4 * (1 + 0.2 * (len(points) - 1)))


def test_a_chain_is_written_in_every_condition():
    chain = Chain((Thought("It is at (3, 4).", (3, 4)),), "It shows T.", "T")
    answer = "<think> It shows T. </think>\n<answer> T </answer>"
    zoom = turns.write_zoom("It is at (3, 4).", Zoom((3, 4)))
    written = {condition: chains.write_replies(chain, condition) for condition in Condition}
    assert written == {
        Condition.MULTITURN: [zoom, answer],
        Condition.GROUNDED: ["<think> It is at (3, 4).\nIt shows T. </think>\n<answer> T </answer>"],
        Condition.VANILLA: [answer],
        Condition.BASE: ["T"],
    }
