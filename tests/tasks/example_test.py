"""The Example record: what it accepts, what it refuses, and that it is a value."""

import dataclasses

import pytest

from vigorl_jax.tasks.example import Example
from vigorl_jax.testing.worker_trip import sent

PNG = b"\x89PNG"


def make(**changes):
    fields = {"id": "a", "task": "spatial", "question": "Where?", "answer": "left", "images": (PNG,)}
    return Example(**(fields | changes))


def test_sequences_are_stored_as_tuples_and_boxes_as_floats():
    example = make(images=[PNG], choices=["left", "right"], boxes=[[1, 2, 3, 4]])
    assert example.images == (PNG,)
    assert example.choices == ("left", "right")
    assert example.boxes == ((1.0, 2.0, 3.0, 4.0),)


def test_equal_fields_make_equal_examples_with_equal_hashes():
    first, second = make(metadata={"level": 2}), make(metadata={"level": 2})
    assert first == second
    assert hash(first) == hash(second)
    assert first != make(metadata={"level": 3})
    assert first != make(images=(PNG + b"1",), metadata={"level": 2})


def test_metadata_cannot_be_changed_not_even_through_the_mapping_it_came_from():
    source = {"level": 2}
    example = make(metadata=source)
    source["level"] = 3
    assert example.metadata["level"] == 2
    with pytest.raises(TypeError):
        example.metadata["level"] = 3


def test_fields_cannot_be_assigned():
    with pytest.raises(dataclasses.FrozenInstanceError):
        make().answer = "right"


def test_an_example_survives_the_trip_to_a_worker_process():
    example = make(metadata={"level": 2, "hard": True}, boxes=[(0, 0, 1, 1)])
    assert sent(example) == example


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": ""}, r"Example\.id must not be empty"),
        ({"question": "  "}, r"Example\.question must not be empty"),
        ({"task": "chess"}, "unknown task 'chess'; choose one of spatial, visual_search"),
        ({"images": ()}, "at least one image is needed"),
        ({"images": (b"",)}, r"images\[0\] is empty"),
        ({"boxes": [(0, 0, 5)]}, "a box is four numbers"),
        ({"boxes": [(0, 0, "a", 5)]}, "a box is four numbers"),
        ({"boxes": [(5, 0, 5, 5)]}, "x0 < x1 and y0 < y1; convert"),
        ({"boxes": [(0, 0, float("nan"), 5)]}, "must be finite"),
    ],
)
def test_wrong_values_are_refused_by_name(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answer": 3}, r"Example\.answer must be a string, got int: 3"),
        ({"images": PNG}, "images must be a tuple of encoded files, got one bytes"),
        ({"images": ("a.png",)}, r"images\[0\] must be the bytes of an image file, got str"),
        ({"choices": "left"}, "choices must be a tuple of strings, got the string 'left'"),
        ({"choices": ("left", "")}, r"choices\[1\] must be non-empty text"),
        ({"metadata": {1: "a"}}, "metadata keys must be strings, got 1"),
        ({"metadata": {"a": [1]}}, r"metadata\['a'\] must be text, a number or a bool, got list"),
    ],
)
def test_wrong_types_are_refused_by_name(changes, message):
    with pytest.raises(TypeError, match=message):
        make(**changes)
