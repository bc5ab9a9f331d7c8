"""Reading turns and scoring replies never fails and never hangs, whatever the text."""

import math
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vigorl_jax.reasoning import calls, rewards, turns
from vigorl_jax.reasoning.gated_rewards import Context
from vigorl_jax.tasks import answers, web_action

CALL = '{"name": "search_coordinate", "arguments": {"coordinate": [10, 20]}}'
PIECES = [
    *("<think>", "</think>", "<answer>", "</answer>", "<tool_call>", "</tool_call>", "<observation>"),
    *("</observation>", "<|im_end|>", "<TOOL_CALL>", "<ANSWER>", "</ANSWER>", "user\n", "assistant\n"),
    *(
        CALL,
        CALL.replace("20", "NaN"),
        '{"name":',
        '"arguments":',
        '"coordinate"',
        "[1, 2]",
        "[1e999, 2]",
        "true",
    ),
    *("{", "}", "[", "]", "(", ")", ",", ":", '"', "\\", " ", "\n", "-", ".", "1", "9" * 400, "0x1", "\x00"),
    *(
        "(10, 20)",
        "( 1.5 , -2 )",
        "left",
        "A. ",
        "(B)",
        "click [12]",
        "type [1] [a]",
        "scroll [down]",
        "stop",
    ),
    *("go_back", "the answer is ", "x=1, y=", "\u017f", "\u212a", "\u0661", "\ud800", "\u2028", "é"),
]
TEXTS = st.one_of(st.lists(st.sampled_from(PIECES), max_size=25).map("".join), st.text(max_size=60))
REFERENCES = st.one_of(st.sampled_from(["left", "(0, 0, 99, 99)", "type [1] [a]", ""]), TEXTS)
FRACTIONS = {"frame_size": (100, 80), "crop_sizes": [(56, 56)], "form": calls.FRACTIONAL_BOX_CALL}
CONTEXT = Context(("left", "right"), (100, 80), (56, 56), calls.POINT_IN_ANY_IMAGE_CALL)


@pytest.mark.filterwarnings("error")
@settings(max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(TEXTS, REFERENCES)
def test_ten_thousand_texts_are_read_and_scored(text, reference):
    turn = turns.parse(text, frame_size=(100, 80), earlier_points=[(10, 20)])
    if isinstance(turn, turns.Zoom):
        x, y = turn.point
        assert 0 <= x < 100
        assert 0 <= y < 80
        assert math.dist(turn.point, (10, 20)) >= 10
    assert isinstance(turn, turns.Turn)
    assert isinstance(turns.parse(text, **FRACTIONS), turns.Turn)
    assert isinstance(turns.parse_bare(text), turns.Answer | turns.Malformed)
    for reward in rewards.REWARDS:
        for parts in (
            rewards.score(reward, text, reference, "published"),
            rewards.score(reward, text, reference, "gated", CONTEXT),
        ):
            assert all(math.isfinite(value) and value >= 0 for value in parts.values())
            assert parts["accuracy"] in (0.0, 0.5, 1.0)


SIZE = 100_000
RUNS = [
    *(
        "<think>",
        "</think>",
        "<answer>",
        "</answer>",
        "<tool_call>",
        "<tool_call>{",
        "}",
        "} ",
        "{",
        "[",
        "(",
    ),
    *("</think><answer>", "</think> ", "<answer>(", "(1", "(1,", "(1 ", "1", " ", "\n", '"', "\\", "-", "."),
    *("answer is ", "answer: ", "option ", "A. ", "(A) ", "x=1 ", "] [", "[1 ", "<|im_end|>", "a"),
]


def _whole_dialogue(call):
    turn = f"<think></think><tool_call>{call}</tool_call><observation></observation>"
    body = "".join(turn.replace("@", str(10 * k)) for k in range(SIZE // len(turn)))
    return body + "<think></think><answer>a</answer>"


ADVERSARIAL = [
    *(run * (SIZE // len(run)) for run in RUNS),
    *(
        start + run * (SIZE // len(run))
        for start in ("type [1] [", "(1,", "answer")
        for run in (" ", "1", "]", ")")
    ),
    *(f"<think>(1, 2)</think><answer>{run * (SIZE // len(run))}</answer>" for run in RUNS),
    _whole_dialogue('{"name":"search_coordinate","arguments":{"coordinate":[@,2]}}'),
    _whole_dialogue('{"name":"search_coordinate","arguments":{"coordinate":[5,2]}}'),
]


def _seconds(function, *arguments):
    """Time of this thread alone, the best of three: what other threads and a busy machine add is not the text's."""

    def once():
        start = time.thread_time()
        function(*arguments)
        return time.thread_time() - start

    first = once()
    return first if first < 0.1 else min(first, once(), once())


@pytest.mark.parametrize("preset", rewards.PRESETS)
@pytest.mark.parametrize("reward", rewards.REWARDS)
def test_no_text_of_100_kb_takes_a_reward_more_than_half_a_second(reward, preset):
    slowest = max(_seconds(rewards.score, reward, text, "(1, 2, 3, 4)", preset) for text in ADVERSARIAL)
    assert slowest < 0.5


@pytest.mark.parametrize(
    "read", [turns.parse, turns.parse_bare, answers.letter, answers.points, answers.point, web_action.parse]
)
def test_no_text_of_100_kb_takes_a_reader_more_than_half_a_second(read):
    assert max(_seconds(read, text) for text in ADVERSARIAL) < 0.5
