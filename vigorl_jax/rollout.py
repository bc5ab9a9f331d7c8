"""The loop that produces episodes: sample a turn, read it, zoom, go on, until answered; no row waits for another.

It knows neither the model nor the policy's parameters: it drives any `sampling.scheduler.EpisodeSampler`.
"""

import dataclasses
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from vigorl_jax.processing.decode import decode_image
from vigorl_jax.processing.settings import ImageSettings
from vigorl_jax.processing.tokenizer import Tokenizer
from vigorl_jax.reasoning import calls, prompts, zoom
from vigorl_jax.reasoning.calls import CallForm, Malformed, MalformedKind, Zoom
from vigorl_jax.reasoning.dialogue import Dialogue, Limits, Rules, open_dialogue
from vigorl_jax.reasoning.episode import Episode, Segment, Status
from vigorl_jax.reasoning.prompts import Condition
from vigorl_jax.reasoning.zoom import DeviceRoom, ZoomSettings, open_source
from vigorl_jax.sampling.requests import FinishedTurn, Given, Image, Stream, TurnSettings
from vigorl_jax.sampling.scheduler import EpisodeSampler
from vigorl_jax.tasks import catalog
from vigorl_jax.tasks.example import Example

STOP_STRINGS = ("</tool_call>", "</answer>")
DEFAULT_LIMITS = Limits()


@dataclasses.dataclass(frozen=True)
class Plan:
    """How episodes of one task are held, and how their zooms are cut."""

    rules: Rules
    zoom: ZoomSettings


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a roll out needs besides examples and a sampler.

    Attributes:
      plans: A plan for each task that occurs.
      images: The model's image settings.
      sampling: How turns are sampled; `max_tokens` is set turn by turn from the plan's limits.
      group_size: Episodes of each example.
      open_episodes: Episodes that are under way or queued at once, in whole groups: a few times the sampler's slots
        keeps them busy, and bounds the images that are held.
      original_bytes: Device memory for originals; those beyond stay on the host and only their windows travel.
    """

    plans: Mapping[str, Plan]
    images: ImageSettings
    sampling: TurnSettings
    group_size: int = 1
    open_episodes: int = 256
    original_bytes: int = 2**30

    def __post_init__(self) -> None:
        """Refuses sizes under which nothing would be sampled."""
        for name in ("group_size", "open_episodes"):
            if getattr(self, name) < 1:
                raise ValueError(f"Settings.{name} must be at least 1, got {getattr(self, name)}")


def plan(
    task: str,
    condition: Condition | str = Condition.MULTITURN,
    *,
    limits: Limits = DEFAULT_LIMITS,
    system: str | None = None,
    form: CallForm = calls.POINT_CALL,
    zoom_settings: ZoomSettings | None = None,
    forces_answer: bool = True,
) -> Plan:
    """The plan of a task in a condition; all but multi-turn ones are single turns.

    Args:
      task: Name of a task in `tasks.catalog`.
      condition: A Condition or its name.
      limits: How long an episode may become; `max_zooms` counts in the multi-turn condition only.
      system: The system message; by default our own wording.
      form: Layout of the tool calls.
      zoom_settings: How zooms are cut; by default the task's preset.
      forces_answer: Whether the last turn begins inside the answer tags.

    Raises:
      ValueError: unknown task or condition.
    """
    system = prompts.system_prompt(task, condition, form) if system is None else system
    cuts = zoom_settings or ZoomSettings(catalog.get(task).zoom)
    if Condition(condition) is not Condition.MULTITURN:
        limits = dataclasses.replace(limits, max_zooms=0)
    rules = Rules(system, Condition(condition), form, cuts.preset.dot, limits, forces_answer)
    return Plan(rules, cuts)


def collect(
    sampler: EpisodeSampler,
    examples: Sequence[Example],
    tokenizer: Tokenizer,
    settings: Settings,
    *,
    seed: int,
    step: int = 0,
    on_turn: Callable[[Dialogue], None] = lambda dialogue: None,
    on_episode: Callable[[Episode], None] = lambda episode: None,
) -> list[list[Episode]]:
    """Rolls out a group of episodes for each example.

    The same seed, step and example give the same episodes whatever they are sampled beside, provided that the sampler
    keeps to its streams.

    Args:
      sampler: Samples turns; it must stop at `STOP_STRINGS` and <|im_end|>.
      examples: What is asked.
      tokenizer: The model's.
      settings: Plans, sizes and sampling.
      seed: Of the run.
      step: Of the run, so that each step draws anew.
      on_turn: Called with each dialogue as a turn of it ends, before anything follows it.
      on_episode: Called with each episode as it ends.

    Returns:
      A group for each example, in order.

    Raises:
      ValueError: a task without a plan, a prompt that leaves no room, or what the sampler refuses.
      ImageError: an image that cannot be decoded.
    """
    missing = sorted({example.task for example in examples} - set(settings.plans))
    if missing:
        raise ValueError(f"no plan for {', '.join(missing)}; plans are given for {', '.join(settings.plans)}")
    waiting = deque(_streams(examples, settings.group_size, seed, step))
    room = DeviceRoom(settings.original_bytes)
    groups: list[_Group] = []
    under_way: dict[int, tuple[_Group, int]] = {}  # by ticket: the group, and the number in it
    while waiting or under_way:
        while waiting and (not under_way or len(under_way) + settings.group_size <= settings.open_episodes):
            group = _Group(*waiting.popleft(), tokenizer, settings, room, on_turn)
            groups.append(group)
            under_way |= {ticket: (group, number) for number, ticket in enumerate(group.submit(sampler))}
        ended = sampler.poll()
        if not ended:
            raise ValueError(f"the sampler returned no turn while {len(under_way)} episodes are under way")
        for group, turns in _by_group(ended, under_way):
            for ticket, episode in group.go_on(sampler, turns):
                del under_way[ticket]
                on_episode(episode)
    return [group.episodes for group in groups]


def stream_number(example_id: str) -> int:
    """The number of an example in its random streams: the same in every batch and on every machine."""
    return zlib.crc32(example_id.encode()) & 0x7FFFFFFF


def metrics(episodes: Sequence[Episode]) -> dict[str, float]:
    """What to log of some episodes: the share of each status, malformed turns an episode by kind, and mean sizes."""
    count = len(episodes)
    statuses = Counter(episode.status for episode in episodes)
    kinds = Counter(malformed.kind for episode in episodes for malformed in episode.malformed)
    sampled = sum(int(episode.mask.sum()) for episode in episodes)
    return {
        **{f"status/{status}": statuses[status] / count for status in Status},
        **{f"malformed/{kind}": kinds[kind] / count for kind in MalformedKind},
        "turns": sum(len(episode.turns) for episode in episodes) / count,
        "zooms": sum(len(episode.crops) for episode in episodes) / count,
        "tokens": sum(episode.num_tokens for episode in episodes) / count,
        "sampled_tokens": sampled / count,
    }


def _streams(
    examples: Sequence[Example], group_size: int, seed: int, step: int
) -> Iterator[tuple[Example, list[Stream]]]:
    seen: Counter[str] = Counter()
    for example in examples:
        # An example that comes twice gets other episodes the second time.
        first = seen[example.id] * group_size
        seen[example.id] += 1
        number = stream_number(example.id)
        yield example, [Stream(seed, step, number, first + i) for i in range(group_size)]


def _by_group(
    ended: Sequence[FinishedTurn], under_way: Mapping[int, tuple["_Group", int]]
) -> Iterator[tuple["_Group", dict[int, FinishedTurn]]]:
    """The turns that have ended by the number of their episode, group after group."""
    groups: dict[int, tuple[_Group, dict[int, FinishedTurn]]] = {}
    for turn in ended:
        group, number = under_way[turn.ticket]
        groups.setdefault(id(group), (group, {}))[1][number] = turn
    return iter(groups.values())


class _Group:
    """The episodes of one example while they are rolled out; they share its image and its prompt."""

    def __init__(
        self,
        example: Example,
        streams: Sequence[Stream],
        tokenizer: Tokenizer,
        settings: Settings,
        room: DeviceRoom,
        on_turn: Callable[[Dialogue], None],
    ):
        held = settings.plans[example.task]
        pixels = [decode_image(data, name=f"image of {example.id!r}") for data in example.images]
        # Zooms go into the first image: what no zoom can reach need not stay.
        first = room if held.rules.limits.max_zooms else DeviceRoom(0)
        rooms = [first, *[DeviceRoom(0)] * (len(pixels) - 1)]
        sources = [
            open_source(image, settings.images, held.zoom, room_)
            for image, room_ in zip(pixels, rooms, strict=True)
        ]
        views = [source.view for source in sources]
        self.episodes: list[Episode | None] = [None] * len(streams)
        first = open_dialogue(example, views, tokenizer, held.rules)
        opening = first.segments[0]
        others = (Dialogue(example, tokenizer, opening, held.rules) for _ in streams[1:])
        self._dialogues = [first, *others]
        self._source, self._streams, self._sampling, self._room = sources[0], streams, settings.sampling, room
        self._on_turn = on_turn

    def submit(self, sampler: EpisodeSampler) -> list[int]:
        """Queues all episodes; returns their tickets."""
        prompt = _given(self._dialogues[0].segments[0])
        pairs = zip(self._dialogues, self._streams, strict=True)
        return [sampler.submit(prompt, stream, self._next_turn(dialogue)) for dialogue, stream in pairs]

    def go_on(
        self, sampler: EpisodeSampler, turns: Mapping[int, FinishedTurn]
    ) -> Iterator[tuple[int, Episode]]:
        """Answers turns that have ended, all zooms in one cut; gives the episodes that ended with them."""
        actions = {number: self._read(number, turn) for number, turn in turns.items()}
        zooms = [number for number, action in actions.items() if isinstance(action, Zoom)]
        views = zoom.cut(self._source, [(actions[number], self._dialogues[number].crops) for number in zooms])
        answers = actions | dict(zip(zooms, views, strict=True))
        for number, turn in turns.items():
            dialogue, answer = self._dialogues[number], answers[number]
            segment = None if answer is None else dialogue.observe(answer, turn.room)
            if segment is not None:
                sampler.extend(turn.ticket, _given(segment), self._next_turn(dialogue))
                continue
            sampler.release(turn.ticket)
            self.episodes[number] = dialogue.finish(number)
            if None not in self.episodes:
                self._room.give_back(self._source)
                self._source = None
            yield turn.ticket, self.episodes[number]

    def _read(self, number: int, turn: FinishedTurn) -> Zoom | Malformed | None:
        ids, log_probs = turn.tokens.tolist(), turn.logprobs.tolist()
        action = self._dialogues[number].add_turn(ids, log_probs, cut_off=turn.reason == "length")
        self._on_turn(self._dialogues[number])
        return action

    def _next_turn(self, dialogue: Dialogue) -> TurnSettings:
        return dataclasses.replace(self._sampling, max_tokens=dialogue.room)


def _given(segment: Segment) -> Given:
    images = tuple(Image.of(view.patches) for view in segment.images)
    return Given(np.asarray(segment.token_ids, np.int32), images)
