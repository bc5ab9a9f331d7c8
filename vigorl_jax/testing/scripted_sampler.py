"""A sampler that writes what a script says, with the interface, the stops and the slots of the real one."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from vigorl_jax.processing.tokenizer import Tokenizer
from vigorl_jax.rollout import STOP_STRINGS, stream_number
from vigorl_jax.sampling.requests import FinishedTurn, Given, Stream, TurnSettings

LOG_PROB, TRUNCATED_LOG_PROB = -0.5, -0.25


@dataclasses.dataclass
class Record:
    """What happened to one episode.

    Attributes:
      stream: As it was submitted.
      segments: ("given" or "sampled", ids) in order.
      images: Keys of all images given.
      limits: The token limit of each turn.
      released: Whether it has ended.
    """

    stream: Stream
    segments: list[tuple[str, list[int]]] = dataclasses.field(default_factory=list)
    images: list[str] = dataclasses.field(default_factory=list)
    limits: list[int] = dataclasses.field(default_factory=list)
    released: bool = False

    @property
    def num_tokens(self) -> int:
        """Tokens so far."""
        return sum(len(ids) for _, ids in self.segments)


class ScriptedSampler:
    """Writes the next text of a script for each turn, a token a step, at most `slots` episodes at a time.

    A text is cut behind the first stop string; one without any ends with <|im_end|>. Every id has the log-prob
    LOG_PROB.

    Attributes:
      records: What happened, by ticket.
      polls: The tickets that each poll returned.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        scripts: Mapping[str, Sequence[Sequence[str]]],
        *,
        slots: int = 8,
        cache: int = 1 << 20,
    ):
        """Takes the texts of each turn of each episode, by the example's id."""
        self.records: dict[int, Record] = {}
        self.polls: list[list[int]] = []
        self._tokenizer = tokenizer
        self._scripts = {stream_number(name): script for name, script in scripts.items()}
        self._slots, self._cache = slots, cache
        self._time = 0
        self._queue: list[int] = []
        self._slot_holders: set[int] = set()
        self._ends: dict[int, tuple[int, FinishedTurn]] = {}

    def submit(self, prompt: Given, stream: Stream, turn: TurnSettings) -> int:
        """See `EpisodeSampler`."""
        ticket = len(self.records)
        self.records[ticket] = Record(stream)
        self._give(ticket, prompt, turn)
        self._queue.append(ticket)
        return ticket

    def extend(self, ticket: int, given: Given, turn: TurnSettings) -> None:
        """See `EpisodeSampler`."""
        self._give(ticket, given, turn)
        self._begin(ticket)

    def release(self, ticket: int) -> None:
        """See `EpisodeSampler`."""
        self.records[ticket].released = True
        self._slot_holders.remove(ticket)

    def poll(self) -> list[FinishedTurn]:
        """See `EpisodeSampler`: goes on to the next step in which a turn ends."""
        while self._queue and len(self._slot_holders) < self._slots:
            ticket = self._queue.pop(0)
            self._slot_holders.add(ticket)
            self._begin(ticket)
        if not self._ends:
            return []
        self._time = min(time for time, _ in self._ends.values())
        ended = [ticket for ticket, (time, _) in self._ends.items() if time == self._time]
        self.polls.append(ended)
        return [self._ends.pop(ticket)[1] for ticket in ended]

    def _give(self, ticket: int, given: Given, turn: TurnSettings) -> None:
        record = self.records[ticket]
        record.segments.append(("given", np.asarray(given.tokens).tolist()))
        record.images.extend(image.key for image in given.images)
        record.limits.append(turn.max_tokens)

    def _begin(self, ticket: int) -> None:
        record = self.records[ticket]
        turn = len(record.limits) - 1
        script = self._scripts[record.stream.example]
        ids = self._write(script[record.stream.episode % len(script)][turn])
        taken = ids[: min(record.limits[-1], self._cache - record.num_tokens)]
        record.segments.append(("sampled", taken))
        finished = FinishedTurn(
            ticket=ticket,
            turn=turn,
            tokens=np.asarray(taken, np.int32),
            logprobs=np.full(len(taken), LOG_PROB, np.float32),
            truncated_logprobs=np.full(len(taken), TRUNCATED_LOG_PROB, np.float32),
            reason="stop" if len(taken) == len(ids) else "length",
            room=self._cache - record.num_tokens,
        )
        self._ends[ticket] = (self._time + len(taken), finished)

    def _write(self, text: str) -> list[int]:
        ends = [text.find(stop) + len(stop) for stop in STOP_STRINGS if stop in text]
        if ends:
            return self._tokenizer.encode_with_tool_tags(text[: min(ends)])
        return [*self._tokenizer.encode_with_tool_tags(text), self._tokenizer.control.im_end]
