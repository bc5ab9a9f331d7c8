"""Finding blocks between tags."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vigorl_jax.tasks import tags

PIECES = ["<answer>", "</answer>", "<think>", "</think>", "a", " ", "\n"]
TEXTS = st.lists(st.sampled_from(PIECES)).map("".join)


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_first_block_is_the_lazy_regular_expression(text):
    match = re.search(r"<answer>(.*?)</answer>", text, re.DOTALL)
    assert tags.first_block(text, "answer") == (match[1] if match else None)


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_blocks_are_all_lazy_matches(text):
    assert tags.blocks(text, "answer") == re.findall(r"<answer>(.*?)</answer>", text, re.DOTALL)


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("<think> a </think>b<think>c</think>d", "bd"),
        ("no thoughts", "no thoughts"),
        ("opened by the template </think>b", "b"),
        ("opened by the template </think>b<think>c</think>d", "bd"),
        ("a<think> never closed <answer>b</answer>", "a<think> never closed <answer>b</answer>"),
        ("<think>a<think>b</think>c", "c"),
        ("", ""),
    ],
)
def test_thoughts_are_taken_out(text, rest):
    assert tags.without_thoughts(text) == rest
