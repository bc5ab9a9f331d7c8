"""Turns: which action a message holds, and that writing is the inverse of reading."""

import pytest

from vigorl_jax.reasoning import calls, turns
from vigorl_jax.reasoning.turns import Answer, Malformed, MalformedKind, Zoom, parse

CALL = calls.write_call(Zoom((310, 745)))


@pytest.mark.parametrize(
    ("text", "turn"),
    [
        (f"<think> a </think>\n{CALL}", Zoom((310, 745))),
        (CALL, Zoom((310, 745))),
        ("<think> a </think>\n<answer> blue </answer>", Answer("blue")),
        ("<answer>\nblue\n</answer><|im_end|>", Answer("blue")),
        ("<answer> </answer>", Answer("")),
        (f"{CALL}\n<answer> blue </answer>", Answer("blue")),
        (f"{CALL}\n{calls.write_call(Zoom((1, 2)))}", Zoom((310, 745))),
        ("<answer>a</answer><answer>b</answer>", Answer("a")),
        ("<think> <answer>a</answer> or not </think><answer>b</answer>", Answer("b")),
        (f"<think> {calls.write_call(Zoom((1, 2)))} </think>{CALL}", Zoom((310, 745))),
        ("<think> never closed <answer>b</answer>", Answer("b")),
        (f"<answer> cut off {CALL}", Zoom((310, 745))),
    ],
)
def test_a_turn_is_its_first_action_and_an_answer_wins(text, turn):
    assert parse(text) == turn


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", MalformedKind.NO_ACTION),
        ("I see a lamp.", MalformedKind.NO_ACTION),
        ("<think> I see a lamp. </think>", MalformedKind.NO_ACTION),
        ("<think> <answer> a </answer> </think>", MalformedKind.NO_ACTION),
        ("<ANSWER> a </ANSWER>", MalformedKind.NO_ACTION),
        ("<think> a </think><answer> bl", MalformedKind.UNCLOSED_ANSWER),
        ("<think> a </think><tool_call>\n{", MalformedKind.UNCLOSED_CALL),
        ("<tool_call>\nlook there\n</tool_call>", MalformedKind.NOT_JSON),
    ],
)
def test_anything_else_is_malformed_and_says_why(text, kind):
    turn = parse(text)
    assert isinstance(turn, Malformed)
    assert turn.kind is kind
    assert turn.reason.endswith(".")


def test_the_options_reach_the_call():
    assert parse(CALL, frame_size=(300, 800)).kind is MalformedKind.OUT_OF_FRAME
    assert parse(CALL, earlier_points=[(312, 745)]).kind is MalformedKind.REPEATED_POINT
    assert parse(CALL, form=calls.BOX_CALL).kind is MalformedKind.UNKNOWN_TOOL
    in_crop = calls.write_call(Zoom((5, 6), image=1), calls.POINT_IN_ANY_IMAGE_CALL)
    options = {"frame_size": (300, 800), "crop_sizes": [(504, 504)], "form": calls.POINT_IN_ANY_IMAGE_CALL}
    assert parse(in_crop, **options) == Zoom((5, 6), image=1)


def test_a_forced_answer_is_read_with_its_given_start():
    assert parse("<think> Now the answer. </think>\n<answer> blue </answer>") == Answer("blue")


def test_a_bare_reply_is_its_own_answer():
    assert turns.parse_bare(" left\n") == Answer("left")
    assert turns.parse_bare("<think> a </think> left") == Answer("left")
    assert turns.parse_bare("It is <answer> left </answer>") == Answer("left")
    assert turns.parse_bare("<think> a </think>").kind is MalformedKind.NO_ACTION
    assert turns.parse_bare("  ").reason == "The message was empty."


def test_what_is_written_is_read_back():
    zoom = turns.write_zoom("A sign hangs at (310, 745).", Zoom((310, 745)))
    assert zoom == f"<think> A sign hangs at (310, 745). </think>\n{CALL}"
    assert parse(zoom) == Zoom((310, 745))
    answer = turns.write_answer("It is clear now.", "blue")
    assert answer == "<think> It is clear now. </think>\n<answer> blue </answer>"
    assert parse(answer) == Answer("blue")
    box = Zoom((60, 40), (10, 20, 110, 60))
    assert parse(turns.write_zoom("Look.", box, calls.BOX_CALL), form=calls.BOX_CALL) == box
