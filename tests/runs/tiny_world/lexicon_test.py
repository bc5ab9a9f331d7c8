"""The tokenizer of the tiny model: few tokens for its own dialogues, exact for any text, the same in transformers."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vigorl_jax.processing.tokenizer import Tokenizer
from vigorl_jax.reasoning import turns
from vigorl_jax.reasoning.calls import Zoom
from vigorl_jax.runs.tiny_world import lexicon


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(lexicon.tokenizer())


def test_a_zoom_turn_takes_21_tokens_with_a_token_for_each_digit(tokenizer):
    text = turns.write_zoom("The red circle is at (31, 77).", Zoom((31, 77)))
    pieces = [tokenizer.decode([i]) for i in tokenizer.encode_with_tool_tags(text)]
    assert pieces == [
        "<think>", " The", " red", " circle", " is at (", "3", "1", ", ", "7", "7", ").", " </think>\n",
        "<tool_call>", '\n{"name": "search_coordinate", "arguments": {"coordinate": [', "3", "1", ", ", "7", "7",
        "]}}\n", "</tool_call>",
    ]  # fmt: skip


def test_a_phrase_is_not_taken_from_the_middle_of_a_word(tokenizer):
    pieces = [tokenizer.decode([i]) for i in tokenizer.encode_plain("is redder, is red")]
    assert pieces == ["i", "s", " ", "r", "e", "d", "d", "e", "r", ", ", "i", "s", " red"]


@settings(max_examples=50, deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_any_text_comes_back(text):
    tokenizer = Tokenizer(lexicon.tokenizer())
    normal = lexicon.tokenizer().normalizer.normalize_str(text)
    assert tokenizer.decode(tokenizer.encode_plain(text)) == normal
