"""The one grammar of turns: a message is read as a zoom, an answer, or malformed; and how turns are written.

A turn is a think block followed by one tool call or one answer:

    <think> A sign hangs at (310, 745). </think>
    <tool_call>
    {"name": "search_coordinate", "arguments": {"coordinate": [310, 745]}}
    </tool_call>

`parse` is total: any text gives one of the three. Rollouts, training data, evaluation, search and the gated
rewards read turns here and nowhere else. In the official code malformed calls vanish without a word (B9), any
tool name passes, and points outside the image give black strips; here each has a name and a sentence for the
model.
"""

import dataclasses
from collections.abc import Iterable, Sequence

from vigorl_jax.reasoning import calls
from vigorl_jax.reasoning.calls import CallForm, Malformed, MalformedKind, Size, Zoom
from vigorl_jax.tasks import tags


@dataclasses.dataclass(frozen=True)
class Answer:
    """The final answer: the text between the answer tags, stripped; it may be empty."""

    text: str


Turn = Zoom | Answer | Malformed


def parse(
    text: str,
    *,
    frame_size: Size | None = None,
    earlier_points: Iterable[Sequence[float]] = (),
    crop_sizes: Sequence[Size] = (),
    form: CallForm = calls.POINT_CALL,
) -> Turn:
    """Reads one assistant turn.

    An answer wins over a tool call, and the first call over later ones, as in the official code. Think blocks
    are not searched, and none is required: that is for the format rewards to see to. Coordinates written as
    floats are rounded to the nearest pixel.

    Args:
      text: The turn as text, with or without its think block.
      frame_size: (width, height) of the original image in the pixels that the model sees. Without it only
        negative and absurdly large coordinates are out of frame.
      earlier_points: Points (x, y), or boxes (x0, y0, x1, y1) for a box form, of earlier zooms into the
        original image, in its pixels; a call within 10 px of one of them is a repeat. Zooms into crops are
        not compared.
      crop_sizes: (width, height) of the earlier crops in order; with `form.image_key` these can be zoomed
        into too.
      form: The layout of the calls: `calls.POINT_CALL`, `BOX_CALL`, ...

    Returns:
      A Zoom, an Answer or a Malformed. `parse("<answer> red </answer>")` is `Answer("red")`.

    Raises:
      ValueError: the form counts in fractions and no frame size is given (a mistake of the caller, not of the
        text).
    """
    visible = tags.without_thoughts(text)
    answer = tags.first_block(visible, tags.ANSWER)
    if answer is not None:
        return Answer(answer.strip())
    call = tags.first_block(visible, tags.TOOL_CALL)
    if call is not None:
        return calls.parse_call(
            call, frame_size=frame_size, earlier_points=earlier_points, crop_sizes=crop_sizes, form=form
        )
    if tags.opening(tags.ANSWER) in visible:
        return Malformed("The answer block was not closed.", MalformedKind.UNCLOSED_ANSWER)
    if tags.opening(tags.TOOL_CALL) in visible:
        return Malformed("The tool call was not closed.", MalformedKind.UNCLOSED_CALL)
    return Malformed("The message held neither a tool call nor an answer.", MalformedKind.NO_ACTION)


def parse_bare(text: str) -> Answer | Malformed:
    """Reads a reply of the base condition, where the whole text outside the think blocks is the answer.

    An answer block is honoured where the model wrote one. `parse_bare("left")` is `Answer("left")`.
    """
    visible = tags.without_thoughts(text)
    block = tags.first_block(visible, tags.ANSWER)
    answer = (visible if block is None else block).strip()
    return Answer(answer) if answer else Malformed("The message was empty.", MalformedKind.NO_ACTION)


def write_zoom(
    thought: str, zoom: Zoom, form: CallForm = calls.POINT_CALL, *, frame_size: Size | None = None
) -> str:
    """A whole zoom turn: the think block, a newline, the call; errors as in `calls.write_call`."""
    return f"{_thought(thought)}\n{calls.write_call(zoom, form, frame_size=frame_size)}"


def write_answer(thought: str, answer: str) -> str:
    """A whole answer turn: `<think> thought </think>`, a newline, `<answer> answer </answer>`."""
    return f"{_thought(thought)}\n{tags.opening(tags.ANSWER)} {answer.strip()} {tags.closing(tags.ANSWER)}"


def _thought(thought: str) -> str:
    return f"{tags.opening(tags.THINK)} {thought.strip()} {tags.closing(tags.THINK)}"
