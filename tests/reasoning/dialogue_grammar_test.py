"""The order of tags in a dialogue."""

import pytest

from vigorl_jax.reasoning import dialogue_grammar

THINK = "<think> a </think>"
LOOK = f"{THINK}<tool_call> b </tool_call><observation> c </observation>"
ANSWER = "<answer> d </answer>"


@pytest.mark.parametrize(
    ("text", "accepted"),
    [
        (THINK + ANSWER, True),
        (LOOK + THINK + ANSWER, True),
        (LOOK * 4 + THINK + ANSWER, True),
        (f"words {LOOK} words {THINK} words {ANSWER} words", True),
        (ANSWER, False),
        (THINK, False),
        (LOOK, False),
        (LOOK + ANSWER, False),
        (THINK + THINK + ANSWER, False),
        (f"{THINK}<tool_call> b </tool_call>{THINK}{ANSWER}", False),
        (THINK + ANSWER + ANSWER, False),
        (THINK + "</answer>" + ANSWER, False),
        (THINK.upper() + ANSWER, False),
        ("", False),
    ],
)
def test_a_dialogue_is_looks_and_then_an_answer(text, accepted):
    assert dialogue_grammar.accepts(dialogue_grammar.tag_sequence(text)) is accepted
