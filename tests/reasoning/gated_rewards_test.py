"""The gated rewards: each difference from the published ones, with both values side by side."""

import pytest

from vigorl_jax.reasoning import calls, prompts, turns
from vigorl_jax.reasoning.calls import Zoom
from vigorl_jax.reasoning.gated_rewards import Context
from vigorl_jax.reasoning.rewards import score

T = "<think> A lamp near (10, 20). </think>\n"
BOX = "(0, 0, 100, 100)"


def A(answer):
    return f"<answer> {answer} </answer>"


def look(*points, form=calls.POINT_CALL):
    before, after = prompts.observation()
    zooms = [point if isinstance(point, Zoom) else Zoom(point) for point in points]
    return "".join(
        f"{turns.write_zoom('I look.', zoom, form)}\nuser\n{before}{after}\nassistant\n" for zoom in zooms
    )


def values(reward, prediction, answer, preset="gated", context=None):
    parts = score(reward, prediction, answer, preset, context or Context())
    return parts["overall"], parts["format"], parts["accuracy"]


def check(reward, prediction, answer, published, gated, context=None):
    assert values(reward, prediction, answer, "published") == pytest.approx(published)
    assert values(reward, prediction, answer, "gated", context) == pytest.approx(gated)


FOUR = look((0, 0), (100, 0), (200, 0), (300, 0)) + T


def test_zooms_pay_only_when_the_answer_is_right():
    check("text_multiturn", FOUR + A("red"), "red", (1.24, 1.6, 1), (1.24, 1.6, 1))
    check("text_multiturn", FOUR + A("blue"), "red", (0.64, 1.6, 0), (0.4, 1, 0))
    check("point_multiturn", FOUR + A("(5, 5)"), BOX, (1.24, 1.6, 1), (1.24, 1.6, 1))
    check("point_multiturn", FOUR + A("(500, 5)"), BOX, (0.64, 1.6, 0), (0.4, 1, 0))
    check("action_multiturn", FOUR + A("click [1]"), "click [1]", (1.24, 1.6, 1), (1.24, 1.6, 1))
    check("action_multiturn", FOUR + A("click [1]"), "click [2]", (0.94, 1.6, 0.5), (0.7, 1, 0.5))


def test_a_wrong_answer_never_earns_more_than_a_right_one_in_a_broken_format():
    assert (
        values("text_multiturn", FOUR + A("blue"), "red")[0]
        < values("text_multiturn", "red", "red")[0]
        == 0.6
    )


@pytest.mark.parametrize(
    ("dialogue", "published"),
    [
        (look((-10, 20)) + T + A("red"), (1, 1, 1)),
        (look((5, 5)).replace("search_coordinate", "crop") + T + A("red"), (1, 1, 1)),
        (look((5, 5)).replace("[5, 5]", "[true, 5]") + T + A("red"), (1, 1, 1)),
        (look((5, 5)).replace("{", "").replace("}", "") + T + A("red"), (1, 1, 1)),
        (look((5, 5)).replace("tool_call", "TOOL_CALL") + T + A("red"), (1, 1, 1)),
        (T.replace("think", "THINK") + A("red"), (1, 1, 1)),
    ],
)
def test_calls_that_could_not_be_carried_out_cost_the_format(dialogue, published):
    check("text_multiturn", dialogue, "red", published, (0.6, 0, 1))


def test_points_outside_the_image_cost_the_format_where_its_size_is_known():
    dialogue = look((500, 20)) + T + A("red")
    check("text_multiturn", dialogue, "red", (1, 1, 1), (1, 1, 1))
    check("text_multiturn", dialogue, "red", (1, 1, 1), (0.6, 0, 1), Context(frame_size=(400, 400)))
    grounded = T + A("red")
    check("text_grounded", grounded, "red", (1, 1, 1), (0.5, 0, 1), Context(frame_size=(10, 10)))


def test_a_call_with_float_coordinates_is_well_formed():
    dialogue = look((5, 5)).replace("[5, 5]", "[5.0, 5.4]") + T + A("red")
    check("text_multiturn", dialogue, "red", (0.6, 0, 1), (1, 1, 1))


def test_a_turn_that_had_to_be_repeated_costs_the_format():
    malformed = turns.parse("<tool_call>\n{}\n</tool_call>")
    told = f"<think> a </think>\n<tool_call>\n{{}}\n</tool_call>\nuser\n{prompts.malformed_observation(malformed)}\n"
    check("text_multiturn", told + T + A("red"), "red", (0.6, 0, 1), (0.6, 0, 1))


def test_a_repeated_point_costs_nothing_and_earns_nothing():
    dialogue = look((100, 100), (105, 100)) + T + A("red")
    check("text_multiturn", dialogue, "red", (1, 1, 1), (1, 1, 1))


@pytest.mark.parametrize(
    ("answer", "reference", "published", "gated"),
    [
        ("left", "left", 1, 1),
        ("Left", "Left", 0, 1),
        ("left", "Left", 0, 1),
        ("left.", "left", 0, 1),
        ("(A) left", "left", 0, 1),
        ("A.", "a", 0, 1),
        ("right", "left", 0, 0),
        ("not left", "left", 0, 0),
        ("A", "left", 0, 0),
    ],
)
def test_capitals_periods_and_prefixes_do_not_matter(answer, reference, published, gated):
    check(
        "text_vanilla",
        T + A(answer),
        reference,
        (0.5 + 0.5 * published, 1, published),
        (0.5 + 0.5 * gated, 1, gated),
    )


def test_a_letter_counts_as_its_option_where_the_options_are_known():
    context = Context(choices=("left", "right"))
    check("text_grounded", T + A("A"), "left", (0.5, 1, 0), (1, 1, 1), context)
    check("text_grounded", T + A("B"), "left", (0.5, 1, 0), (0.5, 1, 0), context)
    check("text_multiturn", T + A("(A)"), "left", (0.4, 1, 0), (1, 1, 1), context)


@pytest.mark.parametrize(
    ("answer", "published", "gated"),
    [
        ("(50.5, 60)", (0, 0, 0), (1, 1, 1)),
        ("(50.0, 60)", (0, 0, 0), (1, 1, 1)),
        ("( 50 , 60 )", (1, 1, 1), (1, 1, 1)),
        ("[50, 60]", (0.5, 0, 1), (0.5, 0, 1)),
        ("The centre is (50, 60).", (0, 0, 0), (0.5, 0, 1)),
        ("(True, 1)", (1, 1, 1), (0, 0, 0)),
        ("(500.5, 60)", (0, 0, 0), (0.5, 1, 0)),
        ("(50, 60) or (500, 60)", (0, 0, 0), (0, 0, 0)),
        ("50, 60", (0.5, 0, 1), (0, 0, 0)),
    ],
)
def test_points_may_be_floats_and_must_be_numbers(answer, published, gated):
    check("point_vanilla", T + A(answer), BOX, published, gated)


def test_a_reference_box_may_have_float_corners():
    check("point_grounded", T + A("(50, 60)"), "(0.0, 0, 100.5, 100)", (0.5, 1, 0), (1, 1, 1))
    check("point_multiturn", T + A("(50.5, 60)"), "(0.0, 0, 100.5, 100)", (0, 0, 0), (1, 1, 1))


def test_points_in_thoughts_may_be_floats_and_have_spaces_but_no_sign():
    for point, term in [("( 10, 20 )", 1), ("(1.5, 20)", 1), ("(-10, 20)", 0), ("here", 0)]:
        gated = values("text_grounded", f"<think> {point} </think>\n{A('left')}", "left")
        assert gated == (0.5 + 0.5 * term, term, 1)


@pytest.mark.parametrize(
    ("answer", "reference", "published", "gated"),
    [
        ("click [12]", "click [12]", (1, 1, 1), (1, 1, 1)),
        ("CLICK [12]", "click [12]", (0.5, 1, 0), (1, 1, 1)),
        ("click [12]", "click [13]", (0.75, 1, 0.5), (0.75, 1, 0.5)),
        ("click [12]", "type [12] [abc]", (0.75, 1, 0.5), (0.5, 1, 0)),
        ("click 12", "click [12]", (0.5, 1, 0), (0, 0, 0)),
        ("type [12] [abc]", "type [12] [xyz]", (1, 1, 1), (0.75, 1, 0.5)),
        ("type [12] [ABC]", "type [12] [abc]", (1, 1, 1), (1, 1, 1)),
        ("type [12] [scroll]", "type [12] [scroll]", (0.5, 1, 0), (1, 1, 1)),
        ("type [12] [bus stop]", "stop [x]", (1, 1, 1), (0.5, 1, 0)),
        ("stop [wrong]", "stop [right]", (1, 1, 1), (0.75, 1, 0.5)),
        ("stop [Right]", "stop [right]", (1, 1, 1), (1, 1, 1)),
        ("scroll [up]", "scroll [down]", (0.5, 1, 0), (0.75, 1, 0.5)),
        ("scroll [down]", "type [3] [down]", (1, 1, 1), (0.5, 1, 0)),
        ("hover [1]", "click [1]", (0.5, 1, 0), (0, 0, 0)),
    ],
)
def test_actions_are_compared_as_actions(answer, reference, published, gated):
    check("action_grounded", T + A(answer), reference, published, gated)
    check("action_vanilla", T + A(answer), reference, published, gated)


def test_newlines_in_the_answer_tags_do_no_harm():
    check("text_vanilla", T + "<answer>\nleft\n</answer>", "left", (0.5, 1, 0), (1, 1, 1))
    check("point_multiturn", T + "<answer>\n(50, 60)\n</answer>", BOX, (0.4, 1, 0), (1, 1, 1))


@pytest.mark.parametrize(
    ("reply", "published", "gated"),
    [
        ("\n" + T + A("left") + "\n", (0.5, 0, 1), (1, 1, 1)),
        (T + A("left") + "<|im_end|>", (0.5, 0, 1), (1, 1, 1)),
        (T + T + A("left"), (1, 1, 1), (0.5, 0, 1)),
        (T + A("left") + A("right"), (1, 1, 1), (0.5, 0, 1)),
        (T + "so " + A("left"), (0.5, 0, 1), (0.5, 0, 1)),
        (A("left"), (0.5, 0, 1), (0.5, 0, 1)),
        ("<think><answer>right</answer></think><answer>left</answer>", (0.5, 1, 0), (0.5, 0, 1)),
        ("left", (0.5, 0, 1), (0.5, 0, 1)),
        (T + A(""), (0, 0, 0), (0, 0, 0)),
    ],
)
def test_the_single_turn_format_is_one_thought_and_one_answer(reply, published, gated):
    check("text_vanilla", reply, "left", published, gated)


def test_a_reference_that_cannot_be_read_scores_nothing():
    assert values("point_vanilla", T + A("(5, 5)"), "the button") == (0.5, 1, 0)
    assert values("action_vanilla", T + A("click [1]"), "hover [1]") == (0.5, 1, 0)


def test_zooms_into_boxes_and_into_crops_are_counted_where_they_look():
    boxes = look(Zoom((5, 5), (0, 0, 10, 10)), Zoom((50, 50), (0, 0, 100, 100)), form=calls.BOX_CALL)
    assert (
        values("text_multiturn", boxes + T + A("red"), "red", context=Context(form=calls.BOX_CALL))[1] == 1.2
    )
    form = calls.POINT_IN_ANY_IMAGE_CALL
    nested = look((100, 100), Zoom((100, 100), image=1), Zoom((101, 100), image=1), form=form)
    context = Context(crop_size=(504, 504), form=form)
    parts = score("text_multiturn", nested + T + A("red"), "red", "gated", context)
    assert (parts["zooms"], parts["distinct_zooms"], parts["format"]) == (3, 2, 1.2)
    early = look(Zoom((100, 100), image=1), form=form)
    assert values("text_multiturn", early + T + A("red"), "red", context=context) == (0.6, 0, 1)
