"""The published rewards: every worked value of the reference behaviour, section 3.4, as (overall, format, accuracy)."""

import ast
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vigorl_jax.reasoning import published_rewards, rewards

T = "<think> A lamp near (10, 20). </think>\n"
N = "<think> A lamp. </think>\n"
BOX = "(0, 0, 100, 100)"
SENTENCE = "A closer view:"


def A(answer):
    return f"<answer> {answer} </answer>"


def call(coordinate, name="search_coordinate"):
    return f'<tool_call>\n{{"name": "{name}", "arguments": {{"coordinate": {coordinate}}}}}\n</tool_call>'


def zoom(text):
    return (
        f"<think> Let me look. </think>\n{text}\nuser\n<observation>\n{SENTENCE}\n</observation>\nassistant\n"
    )


def zooms(*coordinates):
    return "".join(zoom(call(coordinate)) for coordinate in coordinates)


def check(reward, prediction, answer, expected):
    parts = rewards.score(reward, prediction, answer, "published")
    assert (parts["overall"], parts["format"], parts["accuracy"]) == pytest.approx(expected, abs=1e-12)


# response, (overall, format, accuracy) of the vanilla and of the grounded reward
POINT = [
    (T + A("(50, 60)"), (1.0, 1, 1), (1.0, 1, 1)),
    (T + A("(150, 60)"), (0.5, 1, 0), (0.5, 1, 0)),
    (N + A("(50, 60)"), (1.0, 1, 1), (0.5, 0, 1)),
    (N + A("(150, 60)"), (0.5, 1, 0), (0.0, 0, 0)),
    (T + A("(100, 100)"), (1.0, 1, 1), (1.0, 1, 1)),
    (T + A("(50.0, 60)"), (0.0, 0, 0), (0.0, 0, 0)),
    (T + A("[50, 60]"), (0.5, 0, 1), (0.5, 0, 1)),
    (T + A("(True, 1)"), (1.0, 1, 1), (1.0, 1, 1)),
    (T + A("red"), (0.0, 0, 0), (0.0, 0, 0)),
    ("\n" + T + A("(50, 60)"), (0.5, 0, 1), (0.5, 0, 1)),
    (T + A("(50, 60)") + "\n", (0.5, 0, 1), (0.5, 0, 1)),
    (T + "<answer>\n(50, 60)\n</answer>", (0.5, 1, 0), (0.5, 1, 0)),
    ("(50, 60)", (0.5, 0, 1), (0.5, 0, 1)),
    ("<think> A lamp near (10, 20).\n" + A("(50, 60)"), (0.5, 0, 1), (0.5, 0, 1)),
    (T + A("(50, 60)") + A("(500, 60)"), (1.0, 1, 1), (1.0, 1, 1)),
    (T + A("(500, 60)") + A("(50, 60)"), (0.5, 1, 0), (0.5, 1, 0)),
    (N + T + A("(50, 60)"), (1.0, 1, 1), (0.5, 0, 1)),
    ("<think> ( 10, 20 ) </think>\n" + A("(50, 60)"), (1.0, 1, 1), (0.5, 0, 1)),
    ("<think> (-10, 20) </think>\n" + A("(50, 60)"), (1.0, 1, 1), (0.5, 0, 1)),
    ("<think> (1.5, 20) </think>\n" + A("(50, 60)"), (1.0, 1, 1), (0.5, 0, 1)),
    ("<think> (10, 20) (10, 20) </think>\n" + A("(50, 60)"), (1.0, 1, 1), (1.0, 1, 1)),
    ("", (0.0, 0, 0), (0.0, 0, 0)),
]


@pytest.mark.parametrize(("response", "vanilla", "grounded"), POINT)
def test_single_turn_points(response, vanilla, grounded):
    check("point_vanilla", response, BOX, vanilla)
    check("point_grounded", response, BOX, grounded)


@pytest.mark.parametrize(
    ("box", "expected"), [("(0.0, 0, 100, 100)", (0.5, 1, 0)), ("[0, 0, 100, 100]", (1.0, 1, 1))]
)
def test_single_turn_points_against_other_boxes(box, expected):
    check("point_vanilla", T + A("(50, 60)"), box, expected)
    check("point_grounded", T + A("(50, 60)"), box, expected)


# response, reference, vanilla, grounded
TEXT = [
    (T + A("left"), "left", (1.0, 1, 1), (1.0, 1, 1)),
    (T + A("A. left"), "left", (1.0, 1, 1), (1.0, 1, 1)),
    (T + A("A.left"), "left", (1.0, 1, 1), (1.0, 1, 1)),
    (T + A("B) Left"), "left", (1.0, 1, 1), (1.0, 1, 1)),
    (T + A("I. left"), "left", (1.0, 1, 1), (1.0, 1, 1)),
    (T + A("A"), "left", (0.5, 1, 0), (0.5, 1, 0)),
    (T + A("(A) left"), "left", (0.5, 1, 0), (0.5, 1, 0)),
    (T + A("AB. left"), "left", (0.5, 1, 0), (0.5, 1, 0)),
    (T + A("left."), "left", (0.5, 1, 0), (0.5, 1, 0)),
    (T + A("right"), "left", (0.5, 1, 0), (0.5, 1, 0)),
    (T + A(""), "left", (0.0, 0, 0), (0.0, 0, 0)),
    (T + A("Left"), "Left", (0.5, 1, 0), (0.5, 1, 0)),
    (T + A("left"), "Left", (0.5, 1, 0), (0.5, 1, 0)),
    (T + A("a"), "a", (1.0, 1, 1), (1.0, 1, 1)),
    (T + A("A."), "a", (0.5, 1, 0), (0.5, 1, 0)),
    (T + "<answer>\nleft\n</answer>", "left", (0.5, 1, 0), (0.5, 1, 0)),
    (N + A("left"), "left", (1.0, 1, 1), (0.5, 0, 1)),
    ("left", "left", (0.5, 0, 1), (0.5, 0, 1)),
]


@pytest.mark.parametrize(("response", "reference", "vanilla", "grounded"), TEXT)
def test_single_turn_texts(response, reference, vanilla, grounded):
    check("text_vanilla", response, reference, vanilla)
    check("text_grounded", response, reference, grounded)


# distinct zooms, format, overall of a right answer, overall of a wrong answer
NUMBER_OF_ZOOMS = [
    (0, 1.0, 1.00, 0.40),
    (1, 1.0, 1.00, 0.40),
    (2, 1.2, 1.08, 0.48),
    (3, 1.4, 1.16, 0.56),
    (4, 1.6, 1.24, 0.64),
    (5, 1.8, 1.32, 0.72),
    (6, 2.0, 1.40, 0.80),
]


@pytest.mark.parametrize(("number", "term", "right", "wrong"), NUMBER_OF_ZOOMS)
def test_multi_turn_number_of_zooms(number, term, right, wrong):
    looked = zooms(*([100 * k, 50] for k in range(number))) + T
    check("text_multiturn", looked + A("red"), "red", (right, term, 1))
    check("text_multiturn", looked + A("blue"), "red", (wrong, term, 0))
    check("point_multiturn", looked + A("(50, 60)"), BOX, (right, term, 1))
    check("point_multiturn", looked + A("(500, 60)"), BOX, (wrong, term, 0))
    check("action_multiturn", looked + A("click [1]"), "click [1]", (right, term, 1))


MULTI_TEXT = [
    (zooms([100, 100], [107, 100]) + T + A("red"), (1.00, 1, 1)),
    (zooms([100, 100], [107, 107]) + T + A("red"), (1.00, 1, 1)),
    (zooms([100, 100], [110, 100]) + T + A("red"), (1.08, 1.2, 1)),
    (zooms([10.5, 20]) + T + A("red"), (0.60, 0, 1)),
    (zooms('["10", "20"]') + T + A("red"), (0.60, 0, 1)),
    (zooms([1, 2, 3]) + T + A("red"), (0.60, 0, 1)),
    (zoom("<tool_call>\n{broken}\n</tool_call>") + T + A("red"), (0.60, 0, 1)),
    (zoom("<tool_call>\nplease look there\n</tool_call>") + T + A("red"), (1.00, 1, 1)),
    (zoom(call([10, 20], name="crop")) + T + A("red"), (1.00, 1, 1)),
    (zooms([-10, 20]) + T + A("red"), (1.00, 1, 1)),
    (zooms([10**6, 20]) + T + A("red"), (1.00, 1, 1)),
    (zooms("[true, 2]") + T + A("red"), (1.00, 1, 1)),
    (A("red"), (0.60, 0, 1)),
    (T + A("red") + " done", (0.60, 0, 1)),
    (T + A("red") + "<|im_end|>\n", (1.00, 1, 1)),
    ("Well. " + T + A("red"), (1.00, 1, 1)),
    ("<think> a </think>\n" + call([1, 2]) + T + A("red"), (0.60, 0, 1)),
    (N + T + A("red"), (0.60, 0, 1)),
    ("<THINK> a </THINK>" + A("red"), (1.00, 1, 1)),
    (zooms([1, 2]).replace("tool_call", "TOOL_CALL") + T + A("red"), (1.00, 1, 1)),
    (zooms("oops").replace("tool_call", "TOOL_CALL") + T + A("red"), (1.00, 1, 1)),
    (T + "<ANSWER> red </ANSWER>", (0.60, 0, 1)),
    (T + A("RED"), (1.00, 1, 1)),
    (T + A("A. red"), (0.40, 1, 0)),
    (T + A("red."), (0.40, 1, 0)),
    (T + "<answer>\nred\n</answer>", (1.00, 1, 1)),
    (T + A(""), (0.00, 0, 0)),
    ("red", (0.60, 0, 1)),
    ("", (0.00, 0, 0)),
]


@pytest.mark.parametrize(("dialogue", "expected"), MULTI_TEXT)
def test_multi_turn_texts(dialogue, expected):
    check("text_multiturn", dialogue, "red", expected)


def test_multi_turn_text_against_a_capitalised_reference():
    check("text_multiturn", T + A("red"), "Red", (1.00, 1, 1))


MULTI_POINT = [
    (T + A("(50, 60)"), (1.00, 1, 1)),
    (T + A("(100, 100)"), (1.00, 1, 1)),
    (T + A("(150, 60)"), (0.40, 1, 0)),
    (T + A("the lamp"), (0.00, 0, 0)),
    (T + A("(50.0, 60)"), (0.00, 0, 0)),
    (T + A("[50, 60]"), (0.60, 0, 1)),
    (T + "<answer>\n(50, 60)\n</answer>", (0.40, 1, 0)),
    ("(50, 60)", (0.60, 0, 1)),
]


@pytest.mark.parametrize(("dialogue", "expected"), MULTI_POINT)
def test_multi_turn_points(dialogue, expected):
    check("point_multiturn", dialogue, BOX, expected)


ACTION = [
    ("click [12]", "click [12]", (1.0, 1, 1)),
    ("click [12]", "click [13]", (0.75, 1, 0.5)),
    ("click [12]", "type [12] [abc]", (0.75, 1, 0.5)),
    ("click [12]", "type [13] [abc]", (0.5, 1, 0)),
    ("click 12", "click [12]", (0.5, 1, 0)),
    ("CLICK [12]", "click [12]", (0.5, 1, 0)),
    ("type [12] [abc]", "type [12] [xyz]", (1.0, 1, 1)),
    ("type [13] [abc]", "type [12] [abc]", (0.75, 1, 0.5)),
    ("type [12] [abc]", "click [12]", (0.75, 1, 0.5)),
    ("type [12] [abc]", "click [13]", (0.5, 1, 0)),
    ("stop [wrong]", "stop [right]", (1.0, 1, 1)),
    ("stop []", "click [1]", (0.5, 1, 0)),
    ("scroll [down]", "scroll [down]", (1.0, 1, 1)),
    ("scroll [up]", "scroll [down]", (0.5, 1, 0)),
    ("scroll down", "scroll [down]", (0.5, 1, 0)),
    ("scroll [down]", "type [3] [down]", (1.0, 1, 1)),
    ("go_back", "go_back", (1.0, 1, 1)),
    ("go_back", "click [1]", (0.5, 1, 0)),
    ("type [12] [go_back]", "type [12] [go_back]", (1.0, 1, 1)),
    ("type [12] [go_back]", "type [12] [x]", (0.5, 1, 0)),
    ("type [12] [bus stop]", "type [12] [bus stop]", (1.0, 1, 1)),
    ("type [12] [bus stop]", "stop [x]", (1.0, 1, 1)),
    ("type [12] [scroll]", "type [12] [scroll]", (0.5, 1, 0)),
    ("type [12] [click]", "type [12] [click]", (1.0, 1, 1)),
    ("hover [1]", "click [1]", (0.5, 1, 0)),
]


@pytest.mark.parametrize(("answer", "reference", "expected"), ACTION)
def test_actions(answer, reference, expected):
    check("action_vanilla", T + A(answer), reference, expected)
    check("action_grounded", T + A(answer), reference, expected)


def test_actions_without_a_point_or_without_tags():
    check("action_vanilla", N + A("click [12]"), "click [12]", (1.0, 1, 1))
    check("action_grounded", N + A("click [12]"), "click [12]", (0.5, 0, 1))
    check("action_vanilla", "click [12]", "click [12]", (0.5, 0, 1))
    check("action_grounded", "click [12]", "click [12]", (0.5, 0, 1))


TAGS = ["<think>", "</think>", "<answer>", "</answer>", "<tool_call>", "</tool_call>"]
PIECES = [*TAGS, "{", "}", "(1, 2)", " ", "\n", "a"]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)


@settings(max_examples=1000, deadline=None)
@given(TEXTS)
def test_the_linear_searches_accept_what_the_regular_expressions_accept(text):
    format_pattern = r"<think>.*?</think>\s*<answer>.*?</answer>"
    is_shaped = re.fullmatch(format_pattern, text, re.DOTALL) is not None
    assert rewards.score("action_vanilla", text, "", "published")["format"] == is_shaped

    answer = re.search(r"<answer>(.*?)</answer>", text)
    given = (answer[1] if answer else text).strip()
    assert rewards.score("text_vanilla", text, given.lower() or "x", "published")["accuracy"] == bool(given)

    called = re.findall(r"<tool_call>\s*(\{.*?\})\s*</tool_call>", text, re.DOTALL)
    assert published_rewards.call_points(text) == (None if called else [])


LITERALS = st.lists(
    st.sampled_from([*"()[]{},- _", "0", "7", "12", "0x1", "1.5", "True", "1e3", "'a'"]), max_size=9
)


@settings(max_examples=1000, deadline=None)
@given(LITERALS.map("".join).map(str.strip))
def test_points_are_whatever_python_reads_as_two_ints(text):
    try:
        value = tuple(ast.literal_eval(text))
    except (ValueError, SyntaxError, TypeError):
        value = ()
    inside = len(value) == 2 and all(isinstance(item, int) and 0 <= item <= 9 for item in value)
    assert rewards.score("point_vanilla", A(text), "(0, 0, 9, 9)", "published")["accuracy"] == inside


def test_a_literal_that_could_exhaust_the_parser_is_no_point():
    for text in ("(" * 100_000, "-" * 900 + "1", "(" * 400 + ")" * 400, "1" * 5000):
        check("point_vanilla", A(text), BOX, (0, 0, 0))


def test_parts_of_a_multi_turn_reward():
    parts = rewards.score("text_multiturn", zooms([0, 0], [5, 5], [90, 90]) + T + A("red"), "red")
    assert (parts["zooms"], parts["distinct_zooms"]) == (3, 2)
    assert parts["diversity"] == pytest.approx(0.2)
