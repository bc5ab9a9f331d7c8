"""The tasks: names, zoom presets, and how each one scores an answer."""

import pytest

from vigorl_jax.tasks import catalog, web_action, web_grounding
from vigorl_jax.tasks.example import TASKS, Example
from vigorl_jax.tasks.task import ZoomPreset


def example(task, answer, **changes):
    return Example("a", task, "What?", answer, (b"1",), **changes)


def test_every_task_is_found_by_its_own_name():
    assert {"spatial", "visual_search", "web_grounding", "web_action"} <= set(catalog.CATALOG) <= set(TASKS)
    assert all(catalog.get(name).name == name for name in catalog.CATALOG)


def test_an_unknown_task_is_refused_with_the_list_of_tasks():
    with pytest.raises(ValueError, match="Unknown task 'chess'; choose one of spatial, visual_search"):
        catalog.get("chess")


def test_zoom_presets_are_those_of_the_official_scripts():
    assert catalog.get("visual_search").zoom == ZoomPreset(182, 672, dot=False)
    assert catalog.get("web_grounding").zoom == ZoomPreset(100, 512, dot=True)
    assert ZoomPreset(50, 384, dot=True) == web_grounding.RL_ZOOM


def test_a_zoom_without_extent_is_refused():
    with pytest.raises(ValueError, match=r"ZoomPreset\.offset must be a whole number of at least 1, got 0"):
        ZoomPreset(0, 512, dot=False)
    with pytest.raises(ValueError, match=r"ZoomPreset\.side .* got 1\.5"):
        ZoomPreset(10, 1.5, dot=False)


@pytest.mark.parametrize(
    ("answer", "accuracy"),
    [
        ("(50, 60)", 1.0),
        ("(50.5, 60)", 1.0),
        ("(100, 100)", 1.0),
        ("(100.5, 60)", 0.0),
        ("(150, 60)", 0.0),
        ("somewhere", 0.0),
    ],
)
def test_a_point_counts_inside_the_box_edges_included(answer, accuracy):
    by_text = example("web_grounding", "(0, 0, 100, 100)")
    by_box = example("web_grounding", "the button", boxes=((300, 300, 310, 310), (0, 0, 100, 100)))
    assert catalog.get("web_grounding").accuracy(answer, by_text) == accuracy
    assert catalog.get("web_grounding").accuracy(answer, by_box) == accuracy


def test_web_grounding_without_a_box_is_refused():
    with pytest.raises(ValueError, match=r"needs boxes, or a reference such as .* got 'the button'"):
        web_grounding.accuracy("(1, 2)", example("web_grounding", "the button"))


def test_a_box_becomes_reference_text_in_whole_pixels():
    assert web_grounding.reference_text((10.9, 20, 110, 60)) == "(10, 20, 110, 60)"


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("click [12]", web_action.Action("click", 12)),
        ("CLICK[ 12 ] ", web_action.Action("click", 12)),
        ("type [4] [red kite]", web_action.Action("type", 4, "red kite")),
        ("type [4] [a [b]]", web_action.Action("type", 4, "a [b]")),
        ("type [4] [red kite] [1]", web_action.Action("type", 4, "red kite")),
        ("type [4] []", web_action.Action("type", 4, "")),
        ("type [4] [go_back]", web_action.Action("type", 4, "go_back")),
        ("scroll [Down]", web_action.Action("scroll", text="down")),
        ("go_back", web_action.Action("go_back")),
        ("stop [12]", web_action.Action("stop", text="12")),
        ("stop []", web_action.Action("stop")),
        ("stop", web_action.Action("stop")),
        ("click 12", None),
        ("click [12] click [13]", None),
        ("clicking [12]", None),
        ("scroll [left]", None),
        ("type [4]", None),
        ("hover [1]", None),
        ("go_back [1]", None),
        ("", None),
    ],
)
def test_actions_are_read_whole(text, action):
    assert web_action.parse(text) == action
    assert web_action.read(text, example("web_action", "go_back")) == action


@pytest.mark.parametrize(
    ("answer", "reference", "accuracy"),
    [
        ("click [12]", "click [12]", 1.0),
        ("click [13]", "click [12]", 0.5),
        ("type [12] [abc]", "click [12]", 0.0),
        ("type [12] [ABC.]", "type [12] [abc]", 1.0),
        ("type [12] [abc]", "type [12] [xyz]", 0.5),
        ("stop [Right]", "stop [right]", 1.0),
        ("stop [wrong]", "stop [right]", 0.5),
        ("scroll [up]", "scroll [down]", 0.5),
        ("nonsense", "scroll [down]", 0.0),
    ],
)
def test_actions_are_half_right_by_kind_and_right_by_kind_and_arguments(answer, reference, accuracy):
    assert web_action.accuracy(answer, example("web_action", reference)) == accuracy


def test_a_reference_that_is_no_action_is_refused():
    with pytest.raises(ValueError, match=r"the reference 'hover \[1\]' is not an action like click \[12\]"):
        web_action.accuracy("click [1]", example("web_action", "hover [1]"))


def test_questions_have_the_layout_of_the_released_data():
    assert web_grounding.question_text(" the search box ") == "Description: the search box"
    assert web_action.question_text("Buy a kite", ["click [kites]"]) == (
        "OBJECTIVE: Buy a kite\n\nPREVIOUS ACTIONS:\n1. click [kites]\n\nIMAGE:"
    )
    assert "PREVIOUS ACTIONS:\nNone\n" in web_action.question_text("Buy a kite")
