"""Typed access to rows: every missing key and wrong type has a name."""

import pytest

from vigorl_jax.datasets import fields
from vigorl_jax.datasets.refusals import RecordError


def _reason(function, *arguments):
    with pytest.raises(RecordError) as refusal:
        function(*arguments)
    return refusal.value.reason


def test_text_is_text_or_a_named_refusal():
    assert fields.text({"a": " x "}, "a") == " x "
    assert _reason(fields.text, {}, "a") == "missing_key"
    assert _reason(fields.text, {"a": None}, "a") == "missing_key"
    assert _reason(fields.text, {"a": 3}, "a") == "wrong_type"
    assert _reason(fields.text, {"a": " "}, "a") == "empty_text"
    assert _reason(fields.text, {"a": "x" * (1 << 21)}, "a") == "text_too_long"


def test_ids_may_be_whole_numbers():
    assert fields.identifier({"id": 7}, "id") == "7"
    assert fields.identifier({"id": "a"}, "id") == "a"
    assert _reason(fields.identifier, {"id": True}, "id") == "wrong_type"


def test_lists_of_text():
    assert fields.texts({"a": ["x", "y"]}, "a") == ("x", "y")
    assert _reason(fields.texts, {"a": "xy"}, "a") == "wrong_type"
    assert _reason(fields.texts, {"a": ["x", 1]}, "a") == "wrong_type"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([1, 2, 3], "wrong_type"),
        ("1234", "wrong_type"),
        ([1, 2, 3, "4"], "wrong_type"),
        ([1, 2, 3, True], "wrong_type"),
        (None, "wrong_type"),
        ([1, 2, 3, float("inf")], "not_finite"),
    ],
)
def test_a_box_is_four_finite_numbers(value, reason):
    assert fields.numbers([1, 2, 3, 4.5], "bbox", 4) == (1.0, 2.0, 3.0, 4.5)
    assert _reason(fields.numbers, value, "bbox", 4) == reason


def test_boxes_in_text():
    assert fields.box_of_text("(1, 2, 3, 4)") == (1, 2, 3, 4)
    assert fields.box_of_text(" [1,2.5,-3,4] ") == (1, 2.5, -3, 4)
    assert fields.box_of_text("(1, 2)") is None
    assert fields.box_of_text("box (1, 2, 3, 4)") is None


def test_metadata_keeps_scalars_and_turns_structures_into_json_text():
    row = {"a": 1, "b": ["x", {"y": None}], "c": None}
    assert fields.scalars(row, ("a", "b", "c", "d")) == {"a": 1, "b": '["x", {"y": null}]'}
    assert _reason(fields.scalars, {"a": [b"bytes"]}, ("a",)) == "wrong_type"


def test_other_columns_pass_through_unless_json_cannot_hold_them():
    assert fields.extras({"id": 1, "level": 2, "raw": b"x", "tags": ["a"]}, ("id",)) == {
        "level": 2,
        "tags": '["a"]',
    }


@pytest.mark.parametrize(("letter", "index"), [("A", 0), ("(B)", 1), ("c", 2), (" D. ", 3)])
def test_letters_mean_choices(letter, index):
    assert fields.letter_index(letter, 4) == index


@pytest.mark.parametrize("letter", ["E", "", "AB", "1", "hidden"])
def test_letters_beyond_the_choices_are_refused(letter):
    assert _reason(fields.letter_index, letter, 4) == "answer_not_a_choice"


def test_base64_is_strict():
    assert fields.from_base64("AAE=", "image") == b"\0\1"
    assert _reason(fields.from_base64, "AA!=", "image") == "not_base64"
