"""Reading answers: the golden strings of public harnesses, with what they should give."""

import pytest

from vigorl_jax.tasks import answers
from vigorl_jax.tasks.example import Example

COLOURS = ("red", "blue", "green", "yellow")


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("B", "B"),
        ("(B)", "B"),
        ("B.", "B"),
        ("b", "B"),
        ("The answer is A", "A"),
        ("I choose option B", "B"),
        ("Based on the image, the answer is (D).", "D"),
        ("Certainly. The answer is A.", "A"),
        ("Answer: C", "C"),
        ("A red car", None),
        ("the red one", None),
        ("<think>…</think><answer>B</answer>", "B"),
        ("<think>a</think>\n<answer> B </answer>", "B"),
        ("<think> a </think> <answer> B </answer>", "B"),
        ("<answer> red </answer>", None),
        ("", None),
        ("A red car is left of B", None),
        ("I think A or B", None),
        ("(b) foo", "B"),
        ("The answer is B", "B"),
        ("The answer is (B)", "B"),
        ("The answer is (B).", "B"),
        ("<answer>(B)</answer>", "B"),
        ("Both are", None),
        ("(A) then (B)", None),
        ("(A) or (B)\n\nso (B)", "B"),
    ],
)
def test_letters_of_the_golden_strings_of_vstar_and_blink(reply, letter):
    assert answers.letter(answers.extract_or_all(reply), count=4) == letter


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("The answer is a red car", None),
        ("The answer is A red car", None),
        ("The answer is B or C", None),
        ("The answer is (A) or (B)", None),
        ("Given (A), the answer is (C)", "C"),
        ("option X-ray", None),
        ("E", None),
        ("D: yellow", "D"),
        ("A. left (B)", None),
    ],
)
def test_a_letter_is_never_guessed(answer, letter):
    assert answers.letter(answer, count=4) == letter


@pytest.mark.parametrize(
    ("answer", "index"),
    [
        ("Blue.", 1),
        ("B", 1),
        ("(B) blue", 1),
        ("B. blue", 1),
        ("(A) blue", 1),
        ("the answer is (D)", 3),
        ("purple", None),
        ("I think A or B", None),
        ("", None),
        ("E", None),
    ],
)
def test_an_option_is_named_by_its_text_or_by_its_letter(answer, index):
    assert answers.option(answer, COLOURS) == index


def test_the_text_of_an_option_counts_before_a_letter():
    assert answers.option("b", ("c", "d", "b")) == 2


@pytest.mark.parametrize(
    ("answer", "reference", "same"),
    [
        ("Left.", "left", True),
        ("left", "Left", True),
        ("A. left", "left", True),
        ("(A) left", "left", True),
        ("left", "A. left", True),
        ("A.", "a", True),
        ("on the  left", "on the left", True),
        ('"red car"', "red car", True),
        ("it is not left", "left", False),
        ("cat", "a", False),
        ("nothing", "no", False),
        ("13", "3", False),
        ("cup", "up", False),
        ("redcar", "red car", False),
        ("right", "left", False),
        ("", "left", False),
        ("...", "left", False),
        ("A.", "B.", False),
    ],
)
def test_texts_are_compared_whole(answer, reference, same):
    assert answers.same_text(answer, reference) is same


def test_letters_and_texts_meet_through_the_options():
    assert answers.is_same_answer("blue", "(B)", COLOURS)
    assert answers.is_same_answer("B", "blue", COLOURS)
    assert not answers.is_same_answer("A", "blue", COLOURS)
    assert not answers.is_same_answer("purple", "blue", COLOURS)
    assert not answers.is_same_answer("B", "blue")


def test_a_reference_outside_the_options_is_compared_as_text():
    assert answers.is_same_answer("purple", "Purple", COLOURS)


@pytest.mark.parametrize(
    ("reply", "point"),
    [
        ("(50, 60)", (50, 60)),
        ("[0.5, 0.6]", (0.5, 0.6)),
        ("click (1, 1)", (1, 1)),
        ("x=5, y=7", (5, 7)),
        ("pyautogui.click(x=5, y=7)", (5, 7)),
        ("50 60", None),
        ("(-5, 3)", (-5, 3)),
        ("I see 2 windows. The point is (300, 400)", (300, 400)),
        ("<think> (10, 20) </think><answer> (300, 400) </answer>", (300, 400)),
        ("[(0.9, 0.9), (0.3, 0.3)]", None),
        ("(50, 60) and again (50, 60)", (50, 60)),
        ("(.3, .3)", (0.3, 0.3)),
        ("(10, 20, 30, 40)", None),
        ("(True, 1)", None),
        ("", None),
    ],
)
def test_points_of_the_golden_strings_of_screenspot(reply, point):
    assert answers.point(answers.extract_or_all(reply)) == point


def test_points_of_a_thought_come_in_order():
    text = "A table near (412, 530), a lamp at ( 640 , 220.5 ), again (412, 530)."
    assert answers.points(text) == [(412, 530), (640, 220.5), (412, 530)]


@pytest.mark.parametrize(
    ("text", "box"),
    [
        ("(0, 0, 100, 50.5)", (0, 0, 100, 50.5)),
        (" [0,0,100,50] ", (0, 0, 100, 50)),
        ("(0, 0, 100)", None),
        ("(0, 0, 100, 50) or so", None),
        ("(0, 0, 100, 50]", None),
    ],
)
def test_a_box_is_the_whole_text(text, box):
    assert answers.box(text) == box


def test_reading_a_text_answer_gives_the_option_or_nothing():
    closed = Example("a", "spatial", "Where?", "left", (b"1",), choices=("left", "right"))
    opened = Example("a", "visual_search", "Which colour?", "red", (b"1",))
    assert answers.read_text("(B) right", closed) == "right"
    assert answers.read_text("hm", closed) is None
    assert answers.read_text(" red ", opened) == "red"
    assert answers.read_text(" ", opened) is None
    assert answers.text_accuracy("A", closed) == 1.0
    assert answers.text_accuracy("B", closed) == 0.0
    assert answers.text_accuracy("Red", opened) == 1.0


def test_extract_takes_the_first_block_outside_the_thoughts():
    assert answers.extract("<think><answer>a</answer></think><answer>b</answer><answer>c</answer>") == "b"
    assert answers.extract("no block") is None
    assert answers.extract_or_all("<think>a</think> no block ") == "no block"
