"""The system prompts state, condition by condition, everything that the method asks of the model."""

import itertools

import pytest

from vigorl_jax.reasoning import calls, dialogue_grammar, prompts, turns
from vigorl_jax.reasoning.prompts import Condition, search_prompt, system_prompt
from vigorl_jax.tasks import catalog
from vigorl_jax.tasks.example import Example

TASKS = ("spatial", "visual_search", "web_grounding", "web_action")
BASE, VANILLA, GROUNDED, MULTITURN = Condition

# Requirement -> words of which all must stand in the prompt (reference behaviour 1.3).
FRAME = {"conversation of user and assistant": ["user", "assistant"]}
ANSWER_IN_TAGS = {"answer tags": ["<answer>", "</answer>"], "right and wrong form": ["Right:", "Wrong:"]}
VERIFY = {"verify": ["erify"], "several candidates": ["candidate"]}
GROUNDING = {
    "step by step": ["step by step", "systematically"],
    "points": ["(x, y)", "pixels", "top-left", "x to the right", "y downwards"],
    "every step grounded": ["Ground every step", "objects", "regions", "relations"],
    "diverse regions": ["diverse regions", "never use the same point twice"],
}
SINGLE_BLOCK = {"skeleton": ["single <think> pair", "{what you see first} (x1, y1)", "(x2, y2)", "(x3, y3)"]}
TURNS = {
    "several turns": ["several turns"],
    "one area a turn": ["ONE area", "exactly one <think>", "exactly one of these"],
    "the call": [calls.call_layout(), "zoom in"],
    "or the answer": ["final answer"],
    "confidence": ["only when you are confident", "Do not always stop after one turn"],
    "no repeats": ["Never repeat a coordinate", "a few pixels away"],
}
OWN = {
    "spatial": {
        "single picture or pair": ["single picture", "pair of pictures", "side by side", "compare"],
        "exact option text": ["exact text of the option", "no letter", "no explanation"],
        "unclear": ["no option is clearly right", "spatial relations"],
    },
    "visual_search": {
        "question about an image": ["question about an image"],
        "free text": ["free text"],
        "unclear": ["unclear", "infer"],
    },
    "web_grounding": {
        "locate": ["locate the area, element or object on a screen", "description"],
        "one point": ["(x, y)", "single point", "most precise"],
        "centre": ["centre", "representative point"],
        "ambiguous": ["ambiguous", "infer the element"],
    },
    "web_action": {
        "one action": ["the one action", "most progress", "exactly one action", "one action only"],
        "inputs": ["OBJECTIVE", "PREVIOUS ACTIONS", "text of each button", "IMAGE"],
        "marks": ["set of marks", "interactable", "numeric id", "colour"],
        "action space": ["click [id]", "type [id] [content]", "scroll [down]", "go_back", "stop [answer]"],
        "enter": ["Enter is pressed afterwards by default"],
        "stop": ["brackets empty", "Issue stop as soon as", "write nothing after"],
        "format": ["correct format"],
    },
}
THOUGHTFUL = {
    "spatial": {},
    "visual_search": {"regions": ["distinct quadrants, objects or zones"], "relate": ["Relate", "question"]},
    "web_grounding": {},
    "web_action": {
        "each step": ["describe a region", "evaluate", "propose the action"],
        "alternatives": ["alternative actions"],
    },
}
CONDITIONS = {
    BASE: {"nothing but the answer": ["answer only", "no reasoning", "no tags"]},
    VANILLA: FRAME | ANSWER_IN_TAGS | VERIFY | {"both sections": ["Think first", "<think>", "compulsory"]},
    GROUNDED: FRAME | ANSWER_IN_TAGS | VERIFY | GROUNDING | SINGLE_BLOCK,
    MULTITURN: FRAME | ANSWER_IN_TAGS | VERIFY | GROUNDING | TURNS,
}
SEARCH = {
    "helpful assistant": ["helpful assistant"],
    "one step or the answer": ["ONLY ONE", "own <think>", "exactly one point (x, y)", "or", "final answer"],
    "regions": ["distinct", "not overlap", "Never repeat a coordinate"],
    "describe, then evaluate": ["Describe the region, then evaluate"],
    "broad, then narrow": ["Explore broadly first", "narrow down"],
    "accurate points": ["accurate points", "represent"],
    "unclear": ["unclear", "infer"],
    "verify": ["Verify"],
    "point format": ["(x, y)", "pixels", "top-left"],
}


@pytest.mark.parametrize(("task", "condition"), list(itertools.product(TASKS, Condition)))
def test_a_system_prompt_states_every_requirement(task, condition):
    wanted = CONDITIONS[condition] | OWN[task] | (THOUGHTFUL[task] if condition != BASE else {})
    prompt = system_prompt(task, condition)
    missing = [name for name, words in wanted.items() if not all(word in prompt for word in words)]
    assert not missing


@pytest.mark.parametrize("task", TASKS)
def test_a_search_prompt_states_every_requirement(task):
    prompt = search_prompt(task)
    wanted = SEARCH | OWN[task] | THOUGHTFUL[task] | ANSWER_IN_TAGS
    assert not [name for name, words in wanted.items() if not all(word in prompt for word in words)]


@pytest.mark.parametrize("task", TASKS)
def test_conditions_do_not_leak_into_each_other(task):
    assert "<think>" not in system_prompt(task, BASE)
    assert "<answer>" not in system_prompt(task, BASE)
    assert "Ground every step" not in system_prompt(task, VANILLA)
    for condition in (BASE, VANILLA, GROUNDED):
        assert "<tool_call>" not in system_prompt(task, condition)
    assert "several turns" not in system_prompt(task, GROUNDED)


def test_vanilla_prompts_for_text_answers_never_mention_points():
    assert "point" not in system_prompt("spatial", VANILLA)
    assert "point" not in system_prompt("visual_search", VANILLA)


@pytest.mark.parametrize("task", TASKS)
def test_the_right_example_is_right_and_the_wrong_one_is_not(task):
    found = catalog.get(task)
    references = {"point": "(400, 90, 420, 100)"}
    reference = references.get(found.reward_family, found.right_answer)
    example = Example("a", task, "What?", reference, (b"1",))
    assert found.accuracy(found.right_answer, example) == 1.0
    assert found.accuracy(found.wrong_answer, example) == 0.0


def test_sixteen_prompts_are_sixteen():
    assert len({system_prompt(task, condition) for task in TASKS for condition in Condition}) == 16


def test_conditions_may_be_given_by_name():
    assert system_prompt("spatial", "grounded") == system_prompt("spatial", GROUNDED)
    with pytest.raises(
        ValueError, match="Unknown condition 'rl'; choose one of base, vanilla, grounded, multiturn"
    ):
        system_prompt("spatial", "rl")
    with pytest.raises(ValueError, match="Unknown task 'chess'"):
        system_prompt("chess", BASE)


def test_the_prompt_shows_the_call_that_the_parser_reads():
    prompt = system_prompt("visual_search", MULTITURN, calls.FRACTIONAL_BOX_CALL)
    assert calls.call_layout(calls.FRACTIONAL_BOX_CALL) in prompt
    assert "left, top, right and bottom" in prompt
    assert "fractions of the width and the height" in prompt
    assert '"target_image" is 0 for the full image' in prompt
    assert "never to a closer view" in system_prompt("visual_search", MULTITURN)


def test_the_least_number_of_thoughts_is_asked_for():
    assert "at least 5 reasoning steps" in search_prompt("spatial", min_thoughts=5)
    assert "at least" not in search_prompt("spatial")
    assert "at least 3 reasoning steps" in search_prompt("web_action")
    assert "at least 3 reasoning steps" in search_prompt("web_action", min_thoughts=2)
    with pytest.raises(ValueError, match="min_thoughts must be at least 1, got 0"):
        search_prompt("spatial", min_thoughts=0)


def test_options_become_lettered_lines():
    example = Example("a", "spatial", "Where is it?", "left", (b"1",), choices=("left", "right"))
    assert prompts.user_text(example) == "Where is it?\nA. left\nB. right"
    assert prompts.user_text(Example("a", "spatial", "Where is it?", "left", (b"1",))) == "Where is it?"
    many = Example("a", "spatial", "Where?", "0", (b"1",), choices=tuple(map(str, range(27))))
    with pytest.raises(ValueError, match="has 27 options; letters end at 26"):
        prompts.user_text(many)


def test_earlier_thoughts_follow_the_question_without_tags():
    text = prompts.with_thoughts("Where?", ["<think> Here (1, 2). </think>", "There (3, 4)."])
    assert text == "Where?\n\nPrevious thought 1: Here (1, 2).\n\nPrevious thought 2: There (3, 4)."


def test_the_observation_mentions_the_dot_only_when_one_is_drawn():
    before, after = prompts.observation()
    assert before.startswith("<observation>\n")
    assert after == "</observation>"
    assert "around the point" in before
    assert "dot" not in before
    assert "red dot marks the point" in prompts.observation(dot=True)[0]
    assert "around the box" in prompts.observation(form=calls.BOX_CALL)[0]


def test_a_malformed_turn_is_answered_with_its_reason():
    malformed = turns.parse("nothing")
    text = prompts.malformed_observation(malformed)
    assert malformed.reason in text
    assert dialogue_grammar.tag_sequence(text) == ["<observation>", "</observation>"]


def test_a_forced_answer_ends_inside_the_answer_tags_and_reads_as_an_answer():
    start = prompts.forced_answer()
    assert start.endswith("</think>\n<answer>")
    assert turns.parse(start + " blue </answer>") == turns.Answer("blue")
    assert dialogue_grammar.accepts(dialogue_grammar.tag_sequence(start + " blue </answer>"))


def test_fixed_sentences_do_what_they_are_for():
    assert prompts.CORRECTION.startswith("Wait")
    assert "<answer>" in prompts.FINAL_ANSWER_REQUEST
    assert "used up" in prompts.FINAL_ANSWER_REQUEST
