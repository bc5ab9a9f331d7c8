"""Slots with continuous batching: whichever row ends its turn leaves, and its slot is extended or given away."""

import dataclasses
import itertools
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Protocol

import jax
import numpy as np

from vigorl_jax.qwen25vl.model import Params
from vigorl_jax.sampling.call_sizes import rows_at_once
from vigorl_jax.sampling.image_store import ImageStore
from vigorl_jax.sampling.pieces import Piece, make_piece, pad_pieces, pad_turns
from vigorl_jax.sampling.prompts import PromptBook
from vigorl_jax.sampling.requests import FinishedTurn, Given, SamplingError, Stream, TurnSettings
from vigorl_jax.sampling.sampler import Decoded, Sampler
from vigorl_jax.sampling.slots import Emitted
from vigorl_jax.sampling.stops import StopTable

# A decode call comes back to the host when this part of the slots has ended its turn: each look costs the time of a
# few decode steps, each waiting row its part of every step.
LEAVE_PART = 8


class EpisodeSampler(Protocol):
    """What a roll out drives: episodes are submitted, their turns come back in any order, and each goes on or ends."""

    def submit(self, prompt: Given, stream: Stream, turn: TurnSettings) -> int:
        """Queues an episode, whose first turn is sampled behind `prompt`; returns its ticket."""

    def poll(self) -> list[FinishedTurn]:
        """Samples until at least one turn has ended, and returns those that have; empty when none is under way.

        Each episode returned waits, while the others go on, until it is extended or released.
        """

    def extend(self, ticket: int, given: Given, turn: TurnSettings) -> None:
        """Appends given tokens to an episode whose turn has ended; its next turn is sampled behind them."""

    def release(self, ticket: int) -> None:
        """Ends an episode whose turn has ended; its slot goes to the next one."""


@dataclasses.dataclass
class Account:
    """What was computed, in rows and tokens.

    Attributes:
      decode_steps: steps of all slots together; `row_steps` counts each slot in each step.
      sampled: tokens drawn. given: tokens read by prefills and extensions, padding left out.
      prompts: prompts prefilled. calls: decode calls.
    """

    decode_steps: int = 0
    row_steps: int = 0
    sampled: int = 0
    given: int = 0
    prompts: int = 0
    calls: int = 0


@dataclasses.dataclass
class _Episode:
    """One episode on the host. `length` counts the tokens in its own cache, the pending one left out."""

    ticket: int
    stream: Stream
    settings: TurnSettings
    prompt: Piece
    prompt_key: Hashable
    images: int
    position: int = 0  # of the pending token
    turn: int = 0
    slot: int | None = None
    length: int = 0
    limit: int = 0
    extension: Piece | None = None
    waiting: bool = False  # its turn has ended and nobody has extended or released it
    drawn: list[Emitted] = dataclasses.field(default_factory=list)

    @property
    def name(self) -> str:
        return f"episode {self.ticket} ({self.stream}), turn {self.turn}"


class Scheduler:
    """Samples episodes in the slots of one sampler; an `EpisodeSampler`.

    Attributes:
      params, stops: the weights and the stop automaton; to be exchanged only while no turn is under way.
      account: what has been computed so far.
    """

    def __init__(self, sampler: Sampler, params: Params, images: ImageStore, stops: StopTable):
        self.sampler, self.images, self.stops = sampler, images, stops
        self.params = params
        self.account = Account()
        self._slots = sampler.empty_slots(images.embeds.dtype)
        self._free = list(range(sampler.shapes.slots))
        self._prompts = PromptBook(sampler)
        self._queue: deque[_Episode] = deque()
        self._episodes: dict[int, _Episode] = {}
        self._extensions: list[_Episode] = []
        self._turning: dict[int, _Episode] = {}  # by slot
        self._first: list[tuple[Sequence[_Episode], Emitted]] = []  # on the device until the next look
        self._next_ticket = 0

    @property
    def params(self) -> Params:
        """The weights as the sampler's steps read them."""
        return self._params

    @params.setter
    def params(self, params: Params) -> None:
        self._params = None  # its memory first
        self._params = self.sampler.prepare(params)

    def submit(self, prompt: Given, stream: Stream, turn: TurnSettings) -> int:
        """See `EpisodeSampler`.

        Raises:
          SamplingError: what is given does not fit the shapes or contradicts itself.
        """
        ticket = self._next_ticket
        shapes = self.sampler.shapes
        name = f"episode {ticket} ({stream})"
        piece = self._prompts.piece(prompt, name)
        self._check_length(len(piece.tokens), shapes.prompt_lengths, f"{name}: a prompt")
        episode = _Episode(ticket, stream, turn, piece, prompt.key, len(prompt.images), piece.next_position)
        episode.length = 0 if shapes.prefixes else len(piece.tokens)
        self._check_images(episode, piece)
        self._set_turn(episode, turn)
        self._next_ticket += 1
        self._episodes[ticket] = episode
        self._queue.append(episode)
        return ticket

    def extend(self, ticket: int, given: Given, turn: TurnSettings) -> None:
        """See `EpisodeSampler`.

        Raises:
          SamplingError: the episode's turn has not ended, or what is given does not fit or contradicts itself.
        """
        episode = self._waiting(ticket)
        name = f"{episode.name} and what follows it"
        pending = int(episode.drawn[-1].tokens[-1])
        piece = make_piece(given, self.sampler.config, start=episode.position, pending=pending, name=name)
        self._check_length(len(piece.tokens), self.sampler.shapes.extend_lengths, f"{name}: a piece")
        extended = dataclasses.replace(
            episode,
            extension=piece,
            images=episode.images + len(given.images),
            length=episode.length + len(piece.tokens),
            position=piece.next_position,
            turn=episode.turn + 1,
            waiting=False,
            drawn=[],
        )
        self._check_images(extended, piece)
        self._set_turn(extended, turn)
        self._episodes[ticket] = extended
        self._extensions.append(extended)

    def release(self, ticket: int) -> None:
        """See `EpisodeSampler`.

        Raises:
          SamplingError: the episode's turn has not ended.
        """
        episode = self._waiting(ticket)
        del self._episodes[ticket]
        self._free.append(episode.slot)
        self._prompts.leave(episode.slot)

    def poll(self) -> list[FinishedTurn]:
        """See `EpisodeSampler`.

        Raises:
          SamplingError: the logits of a row were not numbers; this scheduler cannot go on.
        """
        while True:
            self._place_queued()
            self._extend_rows()
            if not self._turning:
                return []
            if finished := self._decode():
                return finished

    def _waiting(self, ticket: int) -> _Episode:
        episode = self._episodes.get(ticket)
        if episode is None or not episode.waiting:
            state = "has been released or never submitted" if episode is None else "is still in its turn"
            raise SamplingError(
                f"episode {ticket} {state}; extend and release episodes that poll has returned"
            )
        return episode

    def _check_length(self, length: int, lengths: tuple[int, ...], name: str) -> None:
        longest = max(lengths, default=0)
        if length > longest:
            raise SamplingError(
                f"{name} of {length} tokens, the longest shape is {longest}: shorten it, or add a length to the shapes"
            )

    def _check_images(self, episode: _Episode, piece: Piece) -> None:
        tokens = self.images.tokens(piece.images)
        if tokens > len(self.images.embeds):
            raise SamplingError(
                f"{episode.name}: images of {tokens} tokens, {len(self.images.embeds)} embeddings can be kept; "
                "give smaller images, or raise image_tokens of the shapes"
            )
        if episode.images > self.sampler.shapes.max_images:
            raise SamplingError(
                f"{episode.name}: {episode.images} images, {self.sampler.shapes.max_images} are allowed; "
                "give fewer, or raise max_images of the shapes"
            )

    def _set_turn(self, episode: _Episode, turn: TurnSettings) -> None:
        shapes = self.sampler.shapes
        room = shapes.cache - episode.length
        if turn.max_tokens < 1:
            raise SamplingError(f"{episode.name}: max_tokens {turn.max_tokens}; wanted at least 1")
        if room < 1:
            raise SamplingError(
                f"{episode.name}: {episode.length} tokens, the cache of a row holds {shapes.cache} and one more is to "
                "be sampled; end the episode, or enlarge the cache"
            )
        if turn.repetition_penalty != 1 and not shapes.repetition_penalty:
            raise SamplingError(
                f"{episode.name}: repetition_penalty {turn.repetition_penalty}, but the shapes leave it out; "
                "set repetition_penalty=True in Shapes"
            )
        episode.settings, episode.limit = turn, min(turn.max_tokens, room)

    def _place_queued(self) -> None:
        placed = []
        while self._queue and self._free and self._prompts.enter(self._queue[0].prompt_key, self._free[-1]):
            episode = self._queue.popleft()
            episode.slot = self._free.pop()
            placed.append(episode)
        if not placed:
            return
        prompts = {episode.prompt_key: episode.prompt for episode in placed}
        self._slots, read = self._prompts.read(prompts, self.params, self.images, self._slots)
        self.account.prompts += len(read)
        self.account.given += sum(len(prompts[key].tokens) for key in read)
        for same in _grouped(placed, lambda episode: id(self._prompts.prefilled(episode.prompt_key)[0])):
            for batch, rows in self._batches(same):
                prefilled = self._prompts.prefilled(batch[0].prompt_key)[0]
                sources = [self._prompts.prefilled(episode.prompt_key)[1] for episode in batch]
                shared = [self._prompts.shared(episode.slot) for episode in batch]
                self._slots, first = self.sampler.place(
                    self._slots, prefilled, _padded(sources, rows), _padded(shared, rows), self._turns(batch, rows),
                    self.stops,
                )  # fmt: skip
                self._begin(batch, first)
        self._prompts.forget_all_but({episode.prompt_key for episode in self._queue})

    def _extend_rows(self) -> None:
        shapes = self.sampler.shapes
        extensions, self._extensions = self._extensions, []
        for same in _grouped(extensions, lambda episode: _fitting(shapes.extend_lengths, episode.extension)):
            length = _fitting(shapes.extend_lengths, same[0].extension)
            portions = self.images.portions(same, lambda episode: episode.extension.images)
            batches = (self._batches(portion, most=rows_at_once(length)) for portion in portions)
            for batch, rows in itertools.chain.from_iterable(batches):
                pieces = [episode.extension for episode in batch]
                self.images.add(self.params, [image for piece in pieces for image in piece.images])
                given = pad_pieces(pieces, self.sampler.config, self.images, rows=rows, length=length)
                cached = max(episode.length - len(episode.extension.tokens) for episode in batch)
                self._slots, first = self.sampler.extend(
                    self.params, self.images.embeds, self._slots, given, self._turns(batch, rows), self.stops,
                    read=shapes.read(cached),
                )  # fmt: skip
                self.account.given += sum(len(piece.tokens) for piece in pieces)
                self._begin(batch, first)

    def _batches(
        self, episodes: Sequence[_Episode], *, most: int | None = None
    ) -> Iterable[tuple[Sequence[_Episode], int]]:
        for taken, rows in self.sampler.shapes.batches(len(episodes), most=most):
            yield episodes[:taken], rows
            episodes = episodes[taken:]

    def _turns(self, batch: Sequence[_Episode], rows: int) -> Any:
        return pad_turns(
            [(e.slot, e.stream, e.turn, e.position, e.limit, e.settings) for e in batch],
            rows=rows,
            no_slot=self.sampler.shapes.slots,
        )

    def _begin(self, batch: Sequence[_Episode], first: Emitted) -> None:
        self._first.append((batch, first))
        self._turning.update({episode.slot: episode for episode in batch})

    def _decode(self) -> list[FinishedTurn]:
        shapes, turning = self.sampler.shapes, self._turning
        left = max(episode.limit - _count(episode) for episode in turning.values())
        members, places = self._prompts.members()
        self._slots, decoded = self.sampler.decode(
            self.params, self._slots, members, places, self.stops,
            np.int32(min(shapes.chunk, left)), np.int32(max(1, shapes.slots // LEAVE_PART)),
            read=shapes.read(max(episode.length for episode in turning.values())),
        )  # fmt: skip
        first, self._first = self._first, []
        decoded, firsts = jax.device_get((decoded, [emitted for _, emitted in first]))
        for (batch, _), emitted in zip(first, firsts, strict=True):
            for i, episode in enumerate(batch):
                episode.drawn.append(_taken(emitted, slice(i, i + 1)))
        return self._collect(decoded)

    def _collect(self, decoded: Decoded) -> list[FinishedTurn]:
        self.account.calls += 1
        self.account.decode_steps += int(decoded.steps)
        self.account.row_steps += int(decoded.steps) * self.sampler.shapes.slots
        finished = []
        for slot, episode in list(self._turning.items()):
            count = int(decoded.counts[slot])
            episode.drawn.append(_taken(decoded.emitted, (slice(count), slot)))
            episode.length += count
            episode.position += count
            if decoded.failed[slot]:
                raise SamplingError(
                    f"{episode.name}: the logits were not numbers within its {_count(episode)} tokens; look for "
                    "parameters that are not finite"
                )
            if not decoded.active[slot]:
                del self._turning[slot]
                finished.append(self._finish(episode, bool(decoded.stopped[slot])))
        return finished

    def _finish(self, episode: _Episode, stopped: bool) -> FinishedTurn:
        whole = Emitted(*(np.concatenate(arrays) for arrays in zip(*episode.drawn, strict=True)))
        episode.drawn, episode.waiting = [whole], True
        self.account.sampled += len(whole.tokens)
        return FinishedTurn(
            episode.ticket,
            episode.turn,
            *whole,
            reason="stop" if stopped else "length",
            room=self.sampler.shapes.cache - episode.length - 1,
        )


def _count(episode: _Episode) -> int:
    return sum(len(emitted.tokens) for emitted in episode.drawn)


def _taken(emitted: Emitted, index: Any) -> Emitted:
    return Emitted(*(x[index] for x in emitted))


def _padded(values: Sequence[int], rows: int) -> np.ndarray:
    return np.int32([*values, *[0] * (rows - len(values))])


def _fitting(lengths: Sequence[int], piece: Piece) -> int:
    return next(length for length in lengths if length >= len(piece.tokens))


def _grouped(episodes: Iterable[_Episode], key: Callable[[_Episode], Hashable]) -> list[list[_Episode]]:
    groups: dict[Hashable, list[_Episode]] = {}
    for episode in episodes:
        groups.setdefault(key(episode), []).append(episode)
    return list(groups.values())
