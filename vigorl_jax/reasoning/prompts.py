"""Every sentence that we say to the model: system prompts, observations, forced answers, search requests.

A system prompt is composed of what the task asks for (`tasks`) and how the condition wants it done (here).
The wording is our own. Released checkpoints were trained with other prompts: `stored_prompts` reads those.
"""

import enum
from collections.abc import Sequence

from vigorl_jax.reasoning import calls
from vigorl_jax.reasoning.calls import CallForm, Coordinates, Malformed
from vigorl_jax.tasks import catalog, tags
from vigorl_jax.tasks.example import Example
from vigorl_jax.tasks.task import Task

_FRAME = (
    "This is a conversation between a user, who asks, and an assistant, who answers. You are the assistant."
)
_POINT_FORMAT = (
    "Points are written (x, y): two whole numbers of pixels of the full image, counted from its top-left "
    "corner, x to the right and y downwards."
)
_SKELETON = """<think>
{what you see first} (x1, y1). {what follows, and where you look next} (x2, y2). {what settles it} (x3, y3).
</think>"""
_ANSWER_PLACE = "<answer> {your answer} </answer>"
_MIN_ACTION_THOUGHTS = 3

FORCED_THOUGHT = "I have gathered all the information that I need, so here is my final answer."
FINAL_ANSWER_REQUEST = (
    "The budget of thoughts is used up. "
    "Give your final answer now, between <answer> and </answer>, and nothing else."
)
# Joins a wrong chain of thoughts to a right one in training data made from search trees.
CORRECTION = "Wait, this does not hold together. I will look again more carefully."


class Condition(enum.StrEnum):
    """How a task is done: the answer alone, after thinking, with points in the thoughts, or with zooms."""

    BASE = "base"
    VANILLA = "vanilla"
    GROUNDED = "grounded"
    MULTITURN = "multiturn"


def system_prompt(task: str, condition: Condition | str, form: CallForm = calls.POINT_CALL) -> str:
    """The system message of a task in a condition.

    Args:
      task: Name of a task in `tasks.catalog`.
      condition: A Condition or its name.
      form: Layout of the tool calls; multi-turn only.

    Raises:
      ValueError: unknown task or condition.
    """
    if condition not in set(Condition):
        raise ValueError(f"Unknown condition {condition!r}; choose one of {', '.join(Condition)}.")
    found = catalog.get(task)
    match Condition(condition):
        case Condition.BASE:
            return _join(_base(found))
        case Condition.VANILLA:
            return _join(_vanilla(found))
        case Condition.GROUNDED:
            return _join(_grounded(found))
        case Condition.MULTITURN:
            return _join(_multiturn(found, form))


def search_prompt(task: str, min_thoughts: int | None = None) -> str:
    """The system message under which a teacher writes one thought per reply, for tree search.

    Args:
      task: Name of a task in `tasks.catalog`.
      min_thoughts: Adds a sentence that asks for at least so many thoughts before the answer (web action
        always asks for three).

    Raises:
      ValueError: unknown task, or a minimum below 1.
    """
    if min_thoughts is not None and min_thoughts < 1:
        raise ValueError(f"min_thoughts must be at least 1, got {min_thoughts}.")
    found = catalog.get(task)
    sections = [
        ["You are a helpful assistant.", *_opening(found)[1:]],
        [
            "You reason in single steps. Every reply is ONLY ONE of these two:",
            "(a) one reasoning step, in its own <think> ... </think> pair, with exactly one point (x, y); or",
            "(b) the final answer, between <answer> and </answer>.",
        ],
        [
            "For a reasoning step:",
            "- Go on from the previous thoughts. Describe the region, then evaluate how relevant it is.",
            "- Choose regions that are distinct and do not overlap. Never repeat a coordinate.",
            "- Explore broadly first, in diverse parts of the image, and narrow down later.",
            "- Aim at accurate points that represent the region or object they stand for.",
            "- If something is unclear, infer it from its surroundings.",
            "- Verify what you found, and several candidates, before you give the final answer.",
            *(f"- {rule}" for rule in found.reasoning),
            f"- {_POINT_FORMAT}",
        ],
        _answer_section(found),
    ]
    # The official search asks for three steps before an action.
    least = max(min_thoughts or 0, _MIN_ACTION_THOUGHTS if found.reward_family == "action" else 0)
    if least:
        sections.append([f"Write at least {least} reasoning steps, one per reply, before the final answer."])
    return _join(sections)


def _base(task: Task) -> list[list[str]]:
    return [
        [f"Your task is to {task.goal}.", *task.inputs],
        [
            "Reply with the answer only: no reasoning, no tags.",
            *task.answer_rules,
            *task.guidance,
            f"A reply in the right form: {task.right_answer}",
        ],
    ]


def _vanilla(task: Task) -> list[list[str]]:
    return [
        _opening(task),
        [
            "Think first, then answer. Both sections are compulsory, and nothing stands outside them:",
            "<think>\n{your reasoning, step by step}\n</think>",
            _ANSWER_PLACE,
        ],
        ["Verify your reasoning, and consider more than one candidate, before you answer.", *task.reasoning],
        _answer_section(task),
    ]


def _grounded(task: Task) -> list[list[str]]:
    return [
        _opening(task),
        _reasoning_section(task),
        [
            "Write all of the reasoning inside a single <think> pair, with the points in its steps, then one "
            "answer; nothing stands outside these two. Replace what is in curly braces:",
            _SKELETON,
            _ANSWER_PLACE,
        ],
        _answer_section(task),
    ]


def _multiturn(task: Task, form: CallForm) -> list[list[str]]:
    return [
        _opening(task),
        _reasoning_section(task),
        [
            "You work in several turns. A turn is exactly one <think> ... </think> pair, which reasons about "
            "ONE area of the image, followed by exactly one of these:",
            "(a) zoom in on a region, with a tool call in this layout, and wait for the closer view:",
            calls.call_layout(form),
            *_call_rules(form),
            "(b) or give the final answer:",
            _ANSWER_PLACE,
        ],
        [
            "- Answer only when you are confident; otherwise zoom in. Do not always stop after one turn.",
            "- Never repeat a coordinate in a tool call, not even a nearly identical one a few pixels away.",
        ],
        _answer_section(task),
    ]


def _opening(task: Task) -> list[str]:
    return [_FRAME, f"Your task is to {task.goal}.", *task.inputs]


def _reasoning_section(task: Task) -> list[str]:
    return [
        "How to reason:",
        "- Go systematically, step by step, and verify each step before you build on it.",
        "- Ground every step in concrete objects and regions and their relations, by a point (x, y).",
        "- Look at diverse regions, and never use the same point twice.",
        *(f"- {rule}" for rule in task.reasoning),
        "- Check several candidate solutions and regions before you settle on an answer.",
        f"- {_POINT_FORMAT}",
    ]


def _call_rules(form: CallForm) -> list[str]:
    rules = []
    if form.length == 4:
        rules.append("The four numbers are the left, top, right and bottom edges of the box to be shown.")
    if form.coordinates is Coordinates.FRACTIONS:
        rules.append("In the call, numbers are fractions of the width and the height, from 0 to 1.")
    if form.image_key:
        rules.append(f'"{form.image_key}" is 0 for the full image and k for the k-th closer view.')
    else:
        rules.append("Every call refers to the full image, never to a closer view.")
    return rules


def _answer_section(task: Task) -> list[str]:
    return [
        "About the answer, which stands between <answer> and </answer>:",
        *(f"- {rule}" for rule in (*task.answer_rules, *task.guidance)),
        f"- Right: {_answer_block(task.right_answer)}",
        f"- Wrong: {_answer_block(task.wrong_answer)}",
    ]


def _answer_block(answer: str) -> str:
    return f"{tags.opening(tags.ANSWER)} {answer} {tags.closing(tags.ANSWER)}"


def _join(sections: Sequence[Sequence[str]]) -> str:
    return "\n\n".join("\n".join(lines) for lines in sections)


def user_text(example: Example) -> str:
    """The text of the user turn: the question and, where the example lists options, these as lettered lines.

    Raises:
      ValueError: more than 26 options.
    """
    if not example.choices:
        return example.question
    if len(example.choices) > 26:
        raise ValueError(f"Example {example.id!r} has {len(example.choices)} options; letters end at 26.")
    lines = [f"{chr(ord('A') + index)}. {choice}" for index, choice in enumerate(example.choices)]
    return "\n".join([example.question, *lines])


def with_thoughts(question: str, thoughts: Sequence[str]) -> str:
    """The user text of a search step: the question, then each earlier thought as a paragraph without tags."""
    opening, closing = tags.opening(tags.THINK), tags.closing(tags.THINK)
    bare = [thought.replace(opening, "").replace(closing, "").strip() for thought in thoughts]
    return "\n\n".join([question, *(f"Previous thought {k}: {text}" for k, text in enumerate(bare, start=1))])


def observation(dot: bool = False, form: CallForm = calls.POINT_CALL) -> tuple[str, str]:
    """The text before and after the crop in the user turn that follows a zoom.

    Of the official code's five layouts this is that of its RL rollouts, the last that released checkpoints saw: the
    closing tag follows the image directly.

    Args:
      dot: Whether a red dot marks the point in the crop; the text says so.
      form: Layout of the call, which says whether a point or a box was asked for.
    """
    region = "point" if form.length == 2 else "box"
    mark = f" A red dot marks the {region}." if dot else ""
    sentence = f"Here is a closer view of the image around the {region} that you gave.{mark}"
    return f"{tags.opening(tags.OBSERVATION)}\n{sentence}\n", tags.closing(tags.OBSERVATION)


def malformed_observation(malformed: Malformed) -> str:
    """The user turn after a turn that could not be carried out: it says why, and what to write instead."""
    sentence = f"{malformed.reason} Write one tool call in the layout given, or your final answer."
    return f"{tags.opening(tags.OBSERVATION)}\n{sentence}\n{tags.closing(tags.OBSERVATION)}"


def forced_answer() -> str:
    """The start of an assistant turn that leaves nothing but to answer; it ends inside the answer tags."""
    return f"<think> {FORCED_THOUGHT} </think>\n{tags.opening(tags.ANSWER)}"
