"""The rewards of the official code, exactly (reference behaviour, section 3), its quirks included.

The official code matches with regular expressions that can take quadratic time; here the same strings are
accepted by searches that are linear in the text. Quirks that are kept on purpose, with their numbers in the
list of bugs: capitalised references never match in the single-turn text reward (B28); an answer with a
newline passes the format and fails the accuracy (B29); web actions are compared by substrings, typed and stop
texts not at all (B30); zooms are rewarded whether or not the answer is right, the tool name and the image
bounds are not checked (B31). Text on which parsers give up (numbers beyond all limits, JSON nested without
end) scores 0.

`action_multiturn` does not exist in the official code; it joins the published parts in the published
proportions.
"""

import ast
import json
import re
from typing import Any

from vigorl_jax.reasoning import calls, dialogue_grammar
from vigorl_jax.reasoning.reward_parts import BONUS_PER_ZOOM, RewardParts, multi_turn, parts
from vigorl_jax.tasks import tags

_THINK_TO_ANSWER = re.compile(r"</think>\s*<answer>")
_GROUNDED_POINT = re.compile(r"\(\d+\s*,\s*\d+\)")
_OPTION_PREFIX = re.compile(r"[A-Za-z][.)]\s*")
_ANSWER_OPENING = re.compile(r"<answer>", re.IGNORECASE)
_ANSWER_CLOSING = re.compile(r"</answer>", re.IGNORECASE)
_ANSWER_POINT = re.compile(r"<answer>\s*(\([^)]*\))\s*</answer>")
_TAG = re.compile(r"</?(?:tool_call|observation|think|answer)>", re.IGNORECASE)
_CALL_START = re.compile(r"<tool_call>\s*(?=\{)")
_CALL_END = re.compile(r"\}\s*</tool_call>")
_ID = re.compile(r"\[(\d+)\]")

# What ints and their brackets are written with. Strings and other words do not get to Python's parser.
_LITERAL = re.compile(r"(?:True|False|[\s\d()\[\]{},:+\-_.xXoOjJa-fA-F])*+")
_MAX_LITERAL_CHARACTERS = 1000


def point_vanilla(prediction: str, answer: str) -> RewardParts:
    """0.5 accuracy (point in box) + 0.5 format (think and answer blocks, two ints as the answer)."""
    return _single_turn(_single_point_format(prediction), _point_accuracy(prediction, answer))


def point_grounded(prediction: str, answer: str) -> RewardParts:
    """As `point_vanilla`, with the format worth nothing unless the think block holds a point."""
    return _grounded(_single_point_format(prediction), _point_accuracy(prediction, answer), prediction)


def point_multiturn(prediction: str, answer: str) -> RewardParts:
    """0.6 accuracy (point in box) + 0.4 format (grammar, calls, two ints as the answer, further zooms)."""
    match = _ANSWER_POINT.search(prediction) if follows_grammar(prediction) else None
    readable = match is not None and _ints(_literal(match[1]), tuple, 2) is not None
    return _multi_turn(readable, prediction, _point_accuracy(prediction, answer))


def text_vanilla(prediction: str, answer: str) -> RewardParts:
    """0.5 accuracy (equal to the reference, less one option prefix) + 0.5 format (a non-empty answer)."""
    return _single_turn(_single_text_format(prediction), _single_text_accuracy(prediction, answer))


def text_grounded(prediction: str, answer: str) -> RewardParts:
    """As `text_vanilla`, with the format worth nothing unless the think block holds a point."""
    return _grounded(_single_text_format(prediction), _single_text_accuracy(prediction, answer), prediction)


def text_multiturn(prediction: str, answer: str) -> RewardParts:
    """0.6 accuracy (equal, case ignored) + 0.4 format (grammar, calls, a non-empty answer, further zooms)."""
    readable = follows_grammar(prediction) and bool((tags.first_block(prediction, tags.ANSWER) or "").strip())
    return _multi_turn(readable, prediction, _multi_text_accuracy(prediction, answer))


def action_vanilla(prediction: str, answer: str) -> RewardParts:
    """0.5 accuracy (`action_accuracy`) + 0.5 format (think and answer blocks)."""
    return _single_turn(_is_think_then_answer(prediction), action_accuracy(_line_answer(prediction), answer))


def action_grounded(prediction: str, answer: str) -> RewardParts:
    """As `action_vanilla`, with the format worth nothing unless the think block holds a point."""
    return _grounded(
        _is_think_then_answer(prediction), action_accuracy(_line_answer(prediction), answer), prediction
    )


def action_multiturn(prediction: str, answer: str) -> RewardParts:
    """0.6 accuracy (`action_accuracy`) + 0.4 format (grammar, calls, further zooms). Ours, as said above."""
    return _multi_turn(
        follows_grammar(prediction), prediction, action_accuracy(_line_answer(prediction), answer)
    )


def _single_turn(shape: bool, accuracy: float) -> RewardParts:
    return parts(overall=0.5 * accuracy + 0.5 * shape, format=float(shape), accuracy=accuracy)


def _grounded(shape: bool, accuracy: float, prediction: str) -> RewardParts:
    grounding = float(is_grounded(prediction))
    term = shape * grounding
    return parts(overall=0.5 * accuracy + 0.5 * term, format=term, accuracy=accuracy, grounding=grounding)


def _multi_turn(readable: bool, prediction: str, accuracy: float) -> RewardParts:
    """`readable`: the dialogue follows the grammar and its answer has the required form."""
    points = call_points(prediction) if readable else None
    number = len(calls.distinct(points or ()))
    diversity = BONUS_PER_ZOOM * max(0, number - 1)
    return multi_turn(accuracy, None if points is None else len(points), number, diversity)


def _is_think_then_answer(text: str) -> bool:
    """F1: `<think>..</think>`, white space, `<answer>..</answer>`, nothing around; tags inside are fine."""
    if not (text.startswith("<think>") and text.endswith("</answer>")):
        return False
    # The first such place is also the one that ends first, so no other needs to be tried.
    middle = _THINK_TO_ANSWER.search(text, len("<think>"))
    return middle is not None and middle.end() <= len(text) - len("</answer>")


def _single_text_format(text: str) -> bool:
    return _is_think_then_answer(text) and bool((tags.first_block(text, tags.ANSWER) or "").strip())


def _single_point_format(text: str) -> bool:
    answer = (tags.first_block(text, tags.ANSWER) or "").strip()
    plain = answer.startswith("(") and answer.endswith(")")
    return _is_think_then_answer(text) and plain and _ints(_literal(answer), tuple, 2) is not None


def is_grounded(text: str) -> bool:
    """C1: the first think block holds a `(x, y)` of unsigned ints, without spaces inside its brackets."""
    thought = tags.first_block(text, tags.THINK)
    return thought is not None and _GROUNDED_POINT.search(thought) is not None


def follows_grammar(text: str) -> bool:
    """G1: ends in `</answer>`, and the tags, in any case, are (think, call, observation)*, think, answer."""
    if not text.strip().removesuffix("<|im_end|>").rstrip().endswith("</answer>"):
        return False
    return dialogue_grammar.accepts(match[0].lower() for match in _TAG.finditer(text))


def call_points(text: str) -> list[tuple[int, int]] | None:
    """G2: the points of all tool calls that hold a brace; None when one is not a JSON call with two ints.

    Calls without a brace, and calls in upper-case tags, are not seen at all, and any tool name will do (B31).
    """
    points = []
    start = _CALL_START.search(text)
    while start and (end := _CALL_END.search(text, start.end() + 1)):
        point = _call_point(text[start.end() : end.start() + 1])
        if point is None:
            return None
        points.append(point)
        start = _CALL_START.search(text, end.end())
    return points


def _call_point(payload: str) -> tuple[int, int] | None:
    try:
        point = json.loads(payload)["arguments"]["coordinate"]
    except (ValueError, TypeError, KeyError, IndexError, RecursionError):
        return None
    return _ints(point, list, 2)


def _line_answer(text: str) -> str:
    """A1: the first answer block that lies on one line, or the whole text without one (B29); stripped."""
    for line in text.split("\n"):
        block = tags.first_block(line, tags.ANSWER)
        if block is not None:
            return block.strip()
    return text.strip()


def _point_accuracy(prediction: str, reference: str) -> float:
    """1.0 when two ints lie in the box of four ints, edges included; lists and other sequences will do."""
    box = _ints(_literal(reference), None, 4)
    point = _ints(_literal(_line_answer(prediction)), None, 2)
    if box is None or point is None:
        return 0.0
    return float(box[0] <= point[0] <= box[2] and box[1] <= point[1] <= box[3])


def _single_text_accuracy(prediction: str, reference: str) -> float:
    """1.0 for equal texts; one option prefix and capitals are removed from the prediction alone (B28)."""
    answer = _line_answer(prediction)
    prefix = _OPTION_PREFIX.match(answer)
    answer = answer[prefix.end() :] if prefix else answer
    return float(answer.lower() == reference.strip())


def _multi_text_accuracy(prediction: str, reference: str) -> float:
    """1.0 for equal texts, capitals ignored on both sides; the answer tags may be in any case here."""
    answer = prediction
    if opening := _ANSWER_OPENING.search(prediction):
        closing = _ANSWER_CLOSING.search(prediction, opening.end())
        answer = prediction[opening.end() : closing.start()] if closing else prediction
    return float(answer.strip().lower() == reference.strip().lower())


def action_accuracy(action: str, reference: str) -> float:
    """0, 0.5 or 1 by substrings; the first keyword found decides, in this order (B30).

    go_back and stop: whether the reference holds the same word. scroll: both hold `[down]` or both hold
    `[up]`. click and type: 0.5 for the same word in the reference and 0.5 for the same first bracket, which
    both must have.
    """
    for keyword in ("go_back", "stop"):
        if keyword in action:
            return float(keyword in reference)
    if "scroll" in action:
        return float(any(way in action and way in reference for way in ("[down]", "[up]")))
    for keyword, bracket in (("click", _first_id), ("type", _first_bracket)):
        if keyword in action:
            ours, theirs = bracket(action), bracket(reference)
            if ours is None or theirs is None:
                return 0.0
            return 0.5 * (keyword in reference) + 0.5 * (ours == theirs)
    return 0.0


def _first_id(text: str) -> str | None:
    match = _ID.search(text)
    return match[1] if match else None


def _first_bracket(text: str) -> str | None:
    """What the first pair of brackets on one line holds."""
    for line in text.split("\n"):
        start = line.find("[")
        end = line.find("]", start) if start >= 0 else -1
        if end >= 0:
            return line[start + 1 : end]
    return None


def _literal(text: str) -> Any:
    """The Python literal that a text of numbers and brackets spells, or None; it runs nothing.

    `ast.literal_eval`, as in the official code, but only for text that can spell ints and has a bounded length:
    longer text could exhaust the parser. Bytes, which Python takes for a sequence of ints too, are left out.
    """
    if len(text) > _MAX_LITERAL_CHARACTERS or not _LITERAL.fullmatch(text):
        return None
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _ints(value: Any, kind: type | None, length: int) -> tuple[int, ...] | None:
    """A sequence of ints (bools included) as a tuple; None for anything else, or not of `kind`."""
    if kind is not None and not isinstance(value, kind):
        return None
    try:
        items = tuple(value)
    except TypeError:
        return None
    return items if len(items) == length and all(isinstance(item, int) for item in items) else None
