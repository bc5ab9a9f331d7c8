"""The same rewards as the published ones, corrected where those reward the wrong thing or miss the right one.

The weights are the published ones (0.5 + 0.5 single-turn, 0.6 + 0.4 multi-turn, 0.2 for each further zoom).
What differs, with the numbers of the bugs that it answers:

- The zoom bonus counts only when the answer is entirely right (B31): a wrong answer earns at most 0.4 with
  any number of zooms, less than a right answer in a broken format (0.6). Published: 0.64 with four zooms.
- Every tool call is read by `calls`, strictly: tool name, keys, types, and the image bounds where these are
  known (B31). Published: any name, any place, calls without a brace and in capitals unchecked. Floats are
  accepted.
- Texts are compared without regard to capitals on either side, final punctuation, surrounding quotes and one
  option prefix, `(A)` included; with known options a letter counts as its option (B28). Published: `Left`
  never matches.
- Points may be floats, in the answer, in the reference box and in the thoughts; true and false are not
  numbers. A point inside a sentence, or in square brackets, is right but costs the format. Points in thoughts
  must lie inside the image where its size is known.
- Actions are read as actions (B30): 0.5 for the right kind, 1 when element and text agree too, so typed
  texts, stop answers and scroll directions count, and one kind of action earns nothing for the id of another.
  Capitals do not matter. The format needs exactly one action that can be read.
- Newlines inside the answer tags do no harm (B29), nor does white space around the reply. The format asks for
  exactly one think and one answer block in a single-turn reply, and think blocks are never searched for the
  answer.

References that cannot be read (a box or an action that is none) score 0; tasks refuse them by name in
`accuracy`.
"""

import dataclasses
from collections.abc import Sequence

from vigorl_jax.reasoning import calls, dialogue_grammar
from vigorl_jax.reasoning.calls import CallForm, Malformed, Size, Zoom
from vigorl_jax.reasoning.reward_parts import BONUS_PER_ZOOM, RewardParts, multi_turn, parts
from vigorl_jax.tasks import answers, tags, web_action, web_grounding

_SINGLE_TURN = ["<think>", "</think>", "<answer>", "</answer>"]


@dataclasses.dataclass(frozen=True)
class Context:
    """What is known about an example besides its reference answer; all of it may be left out.

    Attributes:
      choices: Options of the question, letter A first.
      frame_size: (width, height) of the image in the pixels that the model sees.
      crop_size: (width, height) of the crops, when calls may zoom into them.
      form: The layout of the tool calls.
    """

    choices: tuple[str, ...] = ()
    frame_size: Size | None = None
    crop_size: Size | None = None
    form: CallForm = calls.POINT_CALL


NO_CONTEXT = Context()


def point_vanilla(prediction: str, answer: str, context: Context = NO_CONTEXT) -> RewardParts:
    """0.5 accuracy (point in box) + 0.5 format (the answer is nothing but `(x, y)`)."""
    del context  # Reading a point takes nothing but the text.
    return _vanilla(prediction, _is_point(prediction), _point_accuracy(prediction, answer))


def point_grounded(prediction: str, answer: str, context: Context = NO_CONTEXT) -> RewardParts:
    """As `point_vanilla`, with the format worth nothing unless the thought holds a point."""
    return _grounded(prediction, _is_point(prediction), _point_accuracy(prediction, answer), context)


def point_multiturn(prediction: str, answer: str, context: Context = NO_CONTEXT) -> RewardParts:
    """0.6 accuracy (point in box) + 0.4 format (grammar, calls, `(x, y)`; zooms if the answer is right)."""
    return _multi_turn(prediction, _is_point(prediction), _point_accuracy(prediction, answer), context)


def text_vanilla(prediction: str, answer: str, context: Context = NO_CONTEXT) -> RewardParts:
    """0.5 accuracy (`answers.is_same_answer`) + 0.5 format (a non-empty answer)."""
    return _vanilla(
        prediction, bool(answers.extract(prediction)), _text_accuracy(prediction, answer, context)
    )


def text_grounded(prediction: str, answer: str, context: Context = NO_CONTEXT) -> RewardParts:
    """As `text_vanilla`, with the format worth nothing unless the thought holds a point."""
    readable = bool(answers.extract(prediction))
    return _grounded(prediction, readable, _text_accuracy(prediction, answer, context), context)


def text_multiturn(prediction: str, answer: str, context: Context = NO_CONTEXT) -> RewardParts:
    """0.6 accuracy (`answers.is_same_answer`) + 0.4 format (grammar, calls; zooms if the answer is right)."""
    readable = bool(answers.extract(prediction))
    return _multi_turn(prediction, readable, _text_accuracy(prediction, answer, context), context)


def action_vanilla(prediction: str, answer: str, context: Context = NO_CONTEXT) -> RewardParts:
    """0.5 accuracy (`web_action.agreement`) + 0.5 format (the answer is one action)."""
    del context  # Reading an action takes nothing but the text.
    return _vanilla(prediction, _is_action(prediction), _action_accuracy(prediction, answer))


def action_grounded(prediction: str, answer: str, context: Context = NO_CONTEXT) -> RewardParts:
    """As `action_vanilla`, with the format worth nothing unless the thought holds a point."""
    return _grounded(prediction, _is_action(prediction), _action_accuracy(prediction, answer), context)


def action_multiturn(prediction: str, answer: str, context: Context = NO_CONTEXT) -> RewardParts:
    """0.6 accuracy (`web_action.agreement`) + 0.4 format (grammar, calls; zooms if the answer is right)."""
    return _multi_turn(prediction, _is_action(prediction), _action_accuracy(prediction, answer), context)


def _vanilla(prediction: str, readable: bool, accuracy: float) -> RewardParts:
    term = float(readable and _is_single_turn(prediction))
    return parts(overall=0.5 * accuracy + 0.5 * term, format=term, accuracy=accuracy)


def _grounded(prediction: str, readable: bool, accuracy: float, context: Context) -> RewardParts:
    grounding = float(_is_grounded(prediction, context.frame_size))
    term = grounding * (readable and _is_single_turn(prediction))
    return parts(overall=0.5 * accuracy + 0.5 * term, format=term, accuracy=accuracy, grounding=grounding)


def _multi_turn(prediction: str, readable: bool, accuracy: float, context: Context) -> RewardParts:
    sequence = dialogue_grammar.tag_sequence(prediction)
    zooms = _zooms(prediction, context) if readable and dialogue_grammar.accepts(sequence) else None
    number = _count_distinct(zooms or ())
    diversity = BONUS_PER_ZOOM * max(0, number - 1) if accuracy == 1.0 else 0.0
    return multi_turn(accuracy, None if zooms is None else len(zooms), number, diversity)


def _is_single_turn(text: str) -> bool:
    """Whether the reply is one think block and one answer block, with white space around them at most."""
    reply = text.strip().removesuffix("<|im_end|>").rstrip()
    if dialogue_grammar.tag_sequence(reply) != _SINGLE_TURN:
        return False
    between = reply[reply.index("</think>") + len("</think>") : reply.index("<answer>")]
    return reply.startswith("<think>") and reply.endswith("</answer>") and not between.strip()


def _is_grounded(text: str, frame_size: Size | None) -> bool:
    width, height = frame_size or (float("inf"), float("inf"))
    thought = tags.first_block(text, tags.THINK) or ""
    return any(0 <= x < width and 0 <= y < height for x, y in answers.points(thought))


def _zooms(text: str, context: Context) -> list[Zoom] | None:
    """The zooms of all tool calls; None when one of them is malformed."""
    zooms = []
    for number, call in enumerate(tags.blocks(text, tags.TOOL_CALL)):
        crops = [context.crop_size] * number if context.crop_size else []
        zoom = calls.parse_call(call, frame_size=context.frame_size, crop_sizes=crops, form=context.form)
        if isinstance(zoom, Malformed):
            return None
        zooms.append(zoom)
    return zooms


def _count_distinct(zooms: Sequence[Zoom]) -> int:
    """Zooms that repeat no earlier zoom into the same image."""
    images = {zoom.image for zoom in zooms}
    return sum(len(calls.distinct(z.box or z.point for z in zooms if z.image == image)) for image in images)


def _is_point(prediction: str) -> bool:
    return answers.is_plain_point(answers.extract(prediction) or "")


def _is_action(prediction: str) -> bool:
    return web_action.parse(answers.extract(prediction) or "") is not None


def _point_accuracy(prediction: str, reference: str) -> float:
    point, box = answers.point(answers.extract_or_all(prediction)), answers.box(reference)
    return float(point is not None and box is not None and web_grounding.is_inside(point, box))


def _text_accuracy(prediction: str, reference: str, context: Context) -> float:
    return float(answers.is_same_answer(answers.extract_or_all(prediction), reference, context.choices))


def _action_accuracy(prediction: str, reference: str) -> float:
    return web_action.agreement(
        web_action.parse(answers.extract_or_all(prediction)), web_action.parse(reference)
    )
