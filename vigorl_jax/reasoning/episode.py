"""The episode: one whole conversation on one example, as segments of exact token ids, and a status.

Ids are kept as they were sampled or given and are never made from text again, so the loss mask is known from the
moment at which a segment is appended: 1 exactly on sampled ids.
"""

import dataclasses
import enum
import functools
import re
from collections.abc import Mapping

import numpy as np
from immutabledict import immutabledict

from vigorl_jax.processing.frames import Box, Frame, Point, map_point
from vigorl_jax.reasoning.turns import Answer, Malformed, Turn, Zoom
from vigorl_jax.reasoning.zoom import View
from vigorl_jax.tasks import answers
from vigorl_jax.tasks.example import Example

_CALL = re.compile(r"<tool_call>.*?(?:</tool_call>|\Z)", re.DOTALL)


class Kind(enum.StrEnum):
    """Where the tokens of a segment come from: our own text and images, or the model."""

    GIVEN = "given"
    SAMPLED = "sampled"


class Status(enum.StrEnum):
    """How an episode ended.

    answered: the last turn holds an answer. malformed: the last turn could not be read, and no turn was left to say
    so. out_of_turns: the last turn asked for a zoom that no turn or no zoom was left for. out_of_tokens: a turn was
    cut off by its token limit, or what should follow it does not fit the episode.
    """

    ANSWERED = "answered"
    MALFORMED = "malformed"
    OUT_OF_TURNS = "out_of_turns"
    OUT_OF_TOKENS = "out_of_tokens"


@dataclasses.dataclass(frozen=True)
class Segment:
    """Tokens of one origin.

    Attributes:
      kind: Given or sampled.
      token_ids: The tokens as the model saw or sampled them; images as one id a merged token.
      text: The same as text for readers: an image is one <|image_pad|>, and <|im_end|> behind a turn is left out.
      images: The images whose tokens are in this segment, in order; given segments only.
      log_probs: Of each sampled id under the policy; empty where these are not known.
      action: How a sampled turn was read.
    """

    kind: Kind
    token_ids: tuple[int, ...]
    text: str
    images: tuple[View, ...] = ()
    log_probs: tuple[float, ...] = ()
    action: Turn | None = None

    def __post_init__(self) -> None:
        """Checks that what belongs to one kind of segment is not given to the other."""
        if self.kind is Kind.SAMPLED and (self.images or self.action is None):
            raise ValueError("a sampled segment has an action and no images; images come with given segments")
        if self.kind is Kind.GIVEN and (self.log_probs or self.action is not None):
            raise ValueError(
                "a given segment has neither log-probs nor an action; the model did not write it"
            )
        if self.log_probs and len(self.log_probs) != len(self.token_ids):
            raise ValueError(
                f"{len(self.log_probs)} log-probs for {len(self.token_ids)} tokens; give one for each or none"
            )

    @property
    def num_tokens(self) -> int:
        """Tokens of the segment, images included."""
        return len(self.token_ids)


@dataclasses.dataclass(frozen=True)
class Mark:
    """A point that a turn names.

    Attributes:
      turn: The turn, from 0.
      point: In pixels of the original.
      written: As the model wrote it, in pixels of the view that it refers to.
    """

    turn: int
    point: Point
    written: Point


@dataclasses.dataclass(frozen=True)
class ZoomMark(Mark):
    """A zoom that was carried out.

    Attributes:
      window: What the crop shows, in pixels of the original.
      image: 0 for a zoom into the whole image, k for one into the k-th crop.
    """

    window: Box
    image: int


@dataclasses.dataclass(frozen=True)
class Episode:
    """A finished episode.

    Attributes:
      example: What was asked.
      segments: Given and sampled in turn, from the opening on; together every token that the model saw.
      status: How it ended.
      number: Which of the episodes of its group, from 0.
      reward: Its reward by parts; empty until it is scored.
    """

    example: Example
    segments: tuple[Segment, ...]
    status: Status
    number: int = 0
    reward: Mapping[str, float] = dataclasses.field(default_factory=immutabledict, hash=False)

    def __post_init__(self) -> None:
        """Checks that the episode opens with a given segment that holds an image."""
        if not self.segments or self.segments[0].kind is not Kind.GIVEN or not self.segments[0].images:
            raise ValueError(
                "an episode opens with a given segment that holds the image; see dialogue.open_dialogue"
            )

    @property
    def num_tokens(self) -> int:
        """Tokens of all segments."""
        return sum(segment.num_tokens for segment in self.segments)

    @functools.cached_property
    def token_ids(self) -> np.ndarray:
        """All ids in order  # int32 [L]."""
        return np.concatenate([np.asarray(segment.token_ids, np.int32) for segment in self.segments])

    @functools.cached_property
    def mask(self) -> np.ndarray:
        """1 on sampled ids, 0 on given ones  # int32 [L]."""
        flags = [np.full(segment.num_tokens, segment.kind is Kind.SAMPLED) for segment in self.segments]
        return np.concatenate(flags).astype(np.int32)

    @functools.cached_property
    def log_probs(self) -> np.ndarray:
        """Log-prob of each sampled id, 0 on given ids and where it is not known  # float32 [L]."""
        values = [segment.log_probs or (0.0,) * segment.num_tokens for segment in self.segments]
        return np.concatenate([np.asarray(value, np.float32) for value in values])

    @property
    def views(self) -> tuple[View, ...]:
        """All images in the order of their tokens: those of the example, then the crops."""
        return tuple(view for segment in self.segments for view in segment.images)

    @property
    def crops(self) -> tuple[View, ...]:
        """The images that zooms brought."""
        return tuple(view for segment in self.segments[1:] for view in segment.images)

    @property
    def turns(self) -> tuple[Segment, ...]:
        """The sampled segments."""
        return tuple(segment for segment in self.segments if segment.kind is Kind.SAMPLED)

    @property
    def answer(self) -> str | None:
        """Text of the final answer; None when there is none."""
        last = self.turns[-1].action if self.turns else None
        return last.text if isinstance(last, Answer) else None

    @property
    def malformed(self) -> tuple[Malformed, ...]:
        """The turns that could be neither carried out nor taken as an answer."""
        return tuple(turn.action for turn in self.turns if isinstance(turn.action, Malformed))

    @property
    def original(self) -> Frame:
        """The frame of the example's first image, which zooms cut from."""
        x1, y1 = self.segments[0].images[0].frame.window[2:]
        return Frame.original(x1, y1)

    @property
    def zooms(self) -> tuple[ZoomMark, ...]:
        """The zooms that were carried out, one for each crop, in order."""
        called = [self.segments[0].images[0].frame, *(view.frame for view in self.crops)]
        zooms, turn = [], -1
        for segment, following in zip(self.segments, (*self.segments[1:], None), strict=True):
            turn += segment.kind is Kind.SAMPLED
            if isinstance(segment.action, Zoom) and following is not None and following.images:
                call = segment.action
                point = map_point(call.point, called[call.image], self.original)
                window = following.images[0].frame.window
                zooms.append(ZoomMark(turn, point, call.point, window, call.image))
        return tuple(zooms)

    @property
    def points(self) -> tuple[Mark, ...]:
        """The points that thoughts and answers name inside the image, tool calls apart; fractions are cut off."""
        frame = self.segments[0].images[0].frame
        marks = []
        for number, turn in enumerate(self.turns):
            for x, y in answers.points(_CALL.sub("", turn.text)):
                written = int(x), int(y)
                if frame.contains(written):
                    marks.append(Mark(number, map_point(written, frame, self.original), written))
        return tuple(marks)
