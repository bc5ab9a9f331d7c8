"""An episode in the making: what is appended before and after each sampled turn, and when it ends.

The rules stand here once, without a sampler: rollouts, search and evaluation against another engine hand in the ids of
a turn and are told what the turn asks for.
"""

import dataclasses
from collections.abc import Sequence

from vigorl_jax.processing import chat
from vigorl_jax.processing.chat import ImageSlot, Part
from vigorl_jax.processing.tokenizer import Tokenizer
from vigorl_jax.reasoning import calls, prompts, turns
from vigorl_jax.reasoning.calls import CallForm
from vigorl_jax.reasoning.episode import Episode, Kind, Segment, Status
from vigorl_jax.reasoning.prompts import Condition
from vigorl_jax.reasoning.turns import Answer, Malformed, Turn, Zoom
from vigorl_jax.reasoning.zoom import View
from vigorl_jax.tasks.example import Example


@dataclasses.dataclass(frozen=True)
class Limits:
    """How long an episode may become; the defaults are those of the official training.

    Attributes:
      max_turns: Sampled turns, malformed ones and the forced answer included.
      max_zooms: Zooms; 0 is a single-turn episode.
      max_turn_tokens: Tokens of one turn.
      max_tokens: Tokens of the whole episode, the opening and all images included.
      max_malformed: Malformed turns that are answered with what was wrong; one more ends the episode. None for any
        number of them.
    """

    max_turns: int = 5
    max_zooms: int = 4
    max_turn_tokens: int = 1024
    max_tokens: int = 16_384
    max_malformed: int | None = None

    def __post_init__(self) -> None:
        """Refuses limits under which nothing can be sampled."""
        for field in dataclasses.fields(self):
            value, least = getattr(self, field.name), int(field.name not in ("max_zooms", "max_malformed"))
            if field.name == "max_malformed" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(
                    f"Limits.{field.name} must be a whole number of at least {least}, got {value!r}"
                )

    @property
    def turns(self) -> int:
        """Turns that an episode has: one where there is nothing to zoom."""
        return self.max_turns if self.max_zooms else 1


@dataclasses.dataclass(frozen=True)
class Rules:
    """How episodes of one task are held.

    Attributes:
      system: The system message.
      condition: How the task is done; replies of the base condition are answers without tags.
      form: Layout of the tool calls.
      dot: Whether crops carry a dot, which the observation then mentions.
      limits: How long an episode may become.
      forces_answer: Whether the last turn begins inside the answer tags, as in the official code.
    """

    system: str
    condition: Condition = Condition.MULTITURN
    form: CallForm = calls.POINT_CALL
    dot: bool = False
    limits: Limits = Limits()
    forces_answer: bool = True


class PromptTooLong(ValueError):
    """The opening of an example leaves no token to sample; the message names the example and the numbers."""


class Dialogue:
    """The segments so far; each sampled turn is appended with `add_turn`, what answers it with `observe`.

    Attributes:
      example: What is asked.
      segments: So far; the last one is given while a turn is awaited.
      status: None until the episode ends.
    """

    def __init__(self, example: Example, tokenizer: Tokenizer, opening: Segment, rules: Rules):
        """Begins with the opening; use `open_dialogue`."""
        self.example = example
        self.segments = [opening]
        self.status: Status | None = None
        self._tokenizer = tokenizer
        self._rules = rules
        self._crops: list[View] = []
        self._regions: list[Sequence[int]] = []
        self._num_turns = 0
        self._num_tokens = opening.num_tokens
        self._prefill = ""

    @property
    def crops(self) -> tuple[View, ...]:
        """The crops so far."""
        return tuple(self._crops)

    @property
    def num_turns(self) -> int:
        """The sampled turns so far."""
        return self._num_turns

    @property
    def room(self) -> int:
        """Tokens that the next turn may have."""
        limits = self._rules.limits
        return min(limits.max_turn_tokens, limits.max_tokens - self._num_tokens)

    def add_turn(
        self, token_ids: Sequence[int], log_probs: Sequence[float] = (), *, cut_off: bool = False
    ) -> Zoom | Malformed | None:
        """Appends a sampled turn.

        Args:
          token_ids: As sampled, a final <|im_end|> included.
          log_probs: One for each id, or none.
          cut_off: Whether sampling ended at the token limit.

        Returns:
          What has to be answered by `observe`: a zoom, or a malformed turn. None when the episode has ended.

        Raises:
          ValueError: no turn is awaited.
        """
        if self.status is not None or self.segments[-1].kind is Kind.SAMPLED:
            raise ValueError(
                f"the episode on {self.example.id!r} awaits no turn; observe the last one or finish"
            )
        text = _without_end(token_ids, self._tokenizer)
        action = self._read(text)
        ids, log_probs = tuple(map(int, token_ids)), tuple(map(float, log_probs))
        self._append(Segment(Kind.SAMPLED, ids, text, log_probs=log_probs, action=action))
        self._num_turns += 1
        self.status = self._status_after(action, cut_off)
        return action if self.status is None else None

    def observe(self, answer: View | Malformed, room: int | None = None) -> Segment | None:
        """Answers the last turn: with the crop that it asked for, or with what was wrong with it.

        Args:
          answer: The crop, or the malformed turn.
          room: Tokens that the sampler can still take, where that may be less than the limits allow.

        Returns:
          The given segment, which may begin a forced answer; None when it does not fit and the episode has ended.
        """
        last = self.segments[-1]
        images = (answer,) if isinstance(answer, View) else ()
        zooms = len(self._crops) + len(images)
        ids = chat.next_user_turn(self._tokenizer, last.token_ids, self._parts(answer))
        is_last = self._num_turns + 1 >= self._rules.limits.turns or zooms >= self._rules.limits.max_zooms
        prefill = prompts.forced_answer() if is_last and self._rules.forces_answer else ""
        ids += self._tokenizer.encode_with_tool_tags(prefill)
        left = self._rules.limits.max_tokens - self._num_tokens
        if len(ids) >= (left if room is None else min(left, room)):
            self.status = Status.OUT_OF_TOKENS
            return None
        self._prefill = prefill
        if images:
            self._crops.append(answer)
        if images and last.action.image == 0:
            self._regions.append(last.action.box or last.action.point)
        segment = given(ids, images, self._tokenizer)
        self._append(segment)
        return segment

    def finish(self, number: int = 0) -> Episode:
        """The finished episode, as number `number` of its group.

        Raises:
          ValueError: the episode has not ended.
        """
        if self.status is None:
            raise ValueError(f"the episode on {self.example.id!r} has not ended; sample its next turn first")
        return Episode(self.example, tuple(self.segments), self.status, number)

    def _parts(self, answer: View | Malformed) -> tuple[Part, ...]:
        if isinstance(answer, Malformed):
            return (prompts.malformed_observation(answer),)
        before, after = prompts.observation(self._rules.dot, self._rules.form)
        return before, ImageSlot(answer.num_tokens), after

    def _append(self, segment: Segment) -> None:
        self.segments.append(segment)
        self._num_tokens += segment.num_tokens

    def _read(self, text: str) -> Turn:
        if self._rules.condition is Condition.BASE:
            return turns.parse_bare(self._prefill + text)
        frame = self.segments[0].images[0].frame
        return turns.parse(
            self._prefill + text,
            frame_size=(frame.width, frame.height),
            earlier_points=self._regions,
            crop_sizes=[(view.frame.width, view.frame.height) for view in self._crops],
            form=self._rules.form,
        )

    def _status_after(self, action: Turn, cut_off: bool) -> Status | None:
        if cut_off and (isinstance(action, Malformed) or self._rules.condition is Condition.BASE):
            return Status.OUT_OF_TOKENS
        if isinstance(action, Answer):
            return Status.ANSWERED
        is_last = self._num_turns >= self._rules.limits.turns
        if isinstance(action, Malformed):
            return Status.MALFORMED if is_last or self._prefill or self._has_too_many_malformed() else None
        is_spent = len(self._crops) >= self._rules.limits.max_zooms
        return Status.OUT_OF_TURNS if is_last or is_spent or self._prefill else None

    def _has_too_many_malformed(self) -> bool:
        most = self._rules.limits.max_malformed
        malformed = sum(isinstance(segment.action, Malformed) for segment in self.segments)
        return most is not None and malformed > most


def open_dialogue(example: Example, views: Sequence[View], tokenizer: Tokenizer, rules: Rules) -> Dialogue:
    """Begins an episode: the system message, the images and the question, up to where the assistant begins.

    Args:
      example: What is asked.
      views: Its images as the model sees them.
      tokenizer: The model's.
      rules: How the episode is held.

    Raises:
      PromptTooLong: the opening leaves no room for a turn.
    """
    ids = opening_ids(example, [view.num_tokens for view in views], tokenizer, rules)
    if len(ids) >= rules.limits.max_tokens:
        raise PromptTooLong(
            f"example {example.id!r} opens with {len(ids)} tokens, and an episode may have "
            f"{rules.limits.max_tokens}; raise max_tokens or lower max_pixels"
        )
    return Dialogue(example, tokenizer, given(ids, views, tokenizer), rules)


def opening_ids(
    example: Example, image_tokens: Sequence[int], tokenizer: Tokenizer, rules: Rules
) -> list[int]:
    """Ids of the opening, for images of so many tokens each."""
    parts = (*map(ImageSlot, image_tokens), prompts.user_text(example))
    return chat.open_conversation(tokenizer, parts, system=rules.system)


def given(token_ids: Sequence[int], images: Sequence[View], tokenizer: Tokenizer) -> Segment:
    """A given segment; its text shows one <|image_pad|> for each image."""
    pad = tokenizer.control.image_pad
    shown = [
        index
        for place, index in enumerate(token_ids)
        if index != pad or token_ids[place - 1 : place] != [pad]
    ]
    return Segment(Kind.GIVEN, tuple(token_ids), tokenizer.decode(shown), tuple(images))


def _without_end(token_ids: Sequence[int], tokenizer: Tokenizer) -> str:
    ended = len(token_ids) > 0 and token_ids[-1] == tokenizer.control.im_end
    return tokenizer.decode(token_ids[: len(token_ids) - ended])
