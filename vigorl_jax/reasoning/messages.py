"""Episodes as chat messages, and back: what supervised training reads, and what other programs understand."""

from collections.abc import Iterator, Sequence

from vigorl_jax.processing import chat
from vigorl_jax.processing.chat import ImageSlot, Message, Part
from vigorl_jax.processing.tokenizer import Tokenizer
from vigorl_jax.reasoning import turns
from vigorl_jax.reasoning.dialogue import Rules, given
from vigorl_jax.reasoning.episode import Episode, Kind, Segment, Status
from vigorl_jax.reasoning.prompts import Condition
from vigorl_jax.reasoning.turns import Answer, Zoom
from vigorl_jax.reasoning.zoom import View
from vigorl_jax.tasks.example import Example

_START, _END = "start", "end"


def to_messages(episode: Episode, tokenizer: Tokenizer) -> list[Message]:
    """The conversation as messages, read from the ids: control tokens spelt out in a text stay part of it.

    The start of a forced answer becomes part of the assistant's text. Images become slots of their size, in the order
    of `episode.views`.
    """
    messages, content = [], None
    for event in [*_events(episode, tokenizer), _END]:
        if event == _START:
            content = []
        elif event == _END:
            if content is not None:
                messages.append(_message(content, tokenizer))
            content = None
        elif content is not None:  # Between two messages stands a line break of the template.
            content.append(event)
    return messages


def _events(episode: Episode, tokenizer: Tokenizer) -> Iterator[str | int | ImageSlot]:
    """Starts and ends of messages, images, other ids; control ids are structure only where we placed them."""
    control = tokenizer.control
    for segment in episode.segments:
        if segment.kind is Kind.SAMPLED:
            ended = segment.token_ids[-1:] == (control.im_end,)
            yield from segment.token_ids[: segment.num_tokens - ended]
            yield from [_END] * ended
            continue
        images = iter(segment.images)
        for token_id in segment.token_ids:
            if token_id == control.vision_start:
                yield ImageSlot(next(images).num_tokens)
            elif token_id in (control.im_start, control.im_end):
                yield _START if token_id == control.im_start else _END
            elif token_id not in (control.image_pad, control.vision_end):
                yield token_id


def _message(content: Sequence[int | ImageSlot], tokenizer: Tokenizer) -> Message:
    parts: list[Part] = []
    run: list[int] = []
    for item in [*content, None]:
        if isinstance(item, int):
            run.append(item)
            continue
        if run:
            parts.append(tokenizer.decode(run))
            run = []
        if item is not None:
            parts.append(item)
    role, _, text = parts[0].partition("\n")
    return Message(role, tuple(part for part in (text, *parts[1:]) if part != ""))


def from_messages(
    example: Example, messages: Sequence[Message], views: Sequence[View], tokenizer: Tokenizer, rules: Rules
) -> Episode:
    """The episode in which the assistant's messages were sampled, to be taught as they are; log-probs are not known.

    Args:
      example: What is asked.
      messages: The conversation; it ends with an assistant's message.
      views: The images of its slots, in order.
      tokenizer: The model's.
      rules: How replies are read: condition and call form.

    Raises:
      ValueError: the last message is not the assistant's, or slots and views do not match.
    """
    if not messages or messages[-1].role != "assistant":
        raise ValueError(
            f"the conversation on {example.id!r} must end with an assistant's message to be taught"
        )
    _check_slots(example, messages, views)
    if messages[0].role != "system":
        messages = [Message("system", (chat.DEFAULT_SYSTEM,)), *messages]
    segments: list[Segment] = []
    pending: list[int] = []
    rest = list(views)
    waiting: list[View] = []
    for message in messages:
        if message.role != "assistant":
            pending += chat.encode_message(tokenizer, message)
            waiting += [rest.pop(0) for part in message.parts if isinstance(part, ImageSlot)]
            continue
        text = "".join(message.parts)
        target = chat.assistant_target(tokenizer, text)
        segments.append(given(pending + chat.generation_prompt(tokenizer), waiting, tokenizer))
        action = _read(text, segments[0].images[0], rules)
        segments.append(Segment(Kind.SAMPLED, tuple(target), text, action=action))
        pending, waiting = chat.close_assistant(tokenizer, target), []
    return Episode(example, tuple(segments), _status(segments[-1]))


def _check_slots(example: Example, messages: Sequence[Message], views: Sequence[View]) -> None:
    roles = [message.role for message in messages]
    opening = messages[: roles.index("assistant")]
    if not any(isinstance(part, ImageSlot) for message in opening for part in message.parts):
        raise ValueError(
            f"the conversation on {example.id!r} shows no image before the assistant's first message"
        )
    slots = [part.num_tokens for message in messages for part in message.parts if isinstance(part, ImageSlot)]
    sizes = [view.num_tokens for view in views]
    if slots != sizes:
        raise ValueError(
            f"the conversation on {example.id!r} has image slots of {slots} tokens and images of {sizes}; "
            "give one view for each slot, in order"
        )


def _read(text: str, image: View, rules: Rules) -> turns.Turn:
    if rules.condition is Condition.BASE:
        return turns.parse_bare(text)
    size = (image.frame.width, image.frame.height)
    return turns.parse(text, frame_size=size, form=rules.form)


def _status(last: Segment) -> Status:
    if isinstance(last.action, Answer):
        return Status.ANSWERED
    return Status.OUT_OF_TURNS if isinstance(last.action, Zoom) else Status.MALFORMED
