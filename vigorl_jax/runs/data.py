"""The examples of each step: read or generated, shuffled, shared among processes, exact to resume.

The order is a function of seed and place alone, and so is what stands in for a record that cannot be used: which
examples a step gets depends neither on the number of processes nor on where a run was stopped. Only a place in the
order has to be kept.
"""

import bisect
import functools
import itertools
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Generic, SupportsIndex, TypeVar

from vigorl_jax.datasets import catalog, reading
from vigorl_jax.datasets.refusals import SourceError
from vigorl_jax.processing.decode import decode_image
from vigorl_jax.runs.bad_records import BadRecords
from vigorl_jax.runs.episode_settings import DataSettings, ValidationSettings
from vigorl_jax.tasks import glyph_levels
from vigorl_jax.tasks.example import Example
from vigorl_jax.tasks.glyph_search import GlyphExamples

T = TypeVar("T")

GENERATED = "glyph_search/"
# Of one collection without end: no example is in two splits.
_GENERATED_SPLITS = {"train": (0, 1_000_000), "val": (1_000_000, 10_000)}
_SLICE = re.compile(r"(\w+)(?:\[(\d*):(\d*)\])?")
_MOST_IN_A_ROW = 100
_THREADS = 8


def open_examples(name: str, data_dir: str | None, split: str) -> Sequence[Example]:
    """The examples of a split with random access: of a prepared data set, or generated for `glyph_search/LEVEL`.

    Args:
      name: In the catalog of data sets, or `glyph_search/` with a level's name.
      data_dir: Root of the prepared data sets; generated ones need none.
      split: A split, or a slice such as `train[500:]`.

    Raises:
      SourceError: unknown or not prepared, no such split, or no data_dir.
      ValueError: no such level.
    """
    if name.startswith(GENERATED):
        return _generated(name, split)
    catalog.find(name)
    if data_dir is None:
        raise SourceError(f"data set {name} is read from files: give the data_dir that prepare_data wrote to")
    return reading.open_split(name, Path(data_dir), split)


def _generated(name: str, split: str) -> GlyphExamples:
    level = glyph_levels.get(name.removeprefix(GENERATED))
    match = _SLICE.fullmatch(split)
    if match is None or match[1] not in _GENERATED_SPLITS:
        raise SourceError(
            f"{name} has no split {split!r}; give train or val, or a slice of them such as train[:1000]"
        )
    first, count = _GENERATED_SPLITS[match[1]]
    low, high, _ = slice(*(int(bound) if bound else None for bound in match.groups()[1:])).indices(count)
    if low >= high:
        raise SourceError(f"{name} has no example in {split!r}; {match[1]} has {count}")
    return GlyphExamples(level, 0, high - low, first + low)


def decodable(example: Example) -> Example:
    """The example itself, if all its images can be decoded.

    Raises:
      ImageError: one cannot.
    """
    for data in example.images:
        decode_image(data, name=f"image of {example.id!r}")
    return example


def validation_examples(
    settings: ValidationSettings, data_dir: str | None, bad: BadRecords
) -> dict[str, list[Example]]:
    """The first examples of each validation set that can be used, by the set's name.

    Raises:
      SourceError: see `open_examples`.
      TooManyBadRecords: see `BadRecords`.
    """
    return {
        name: _first(name, open_examples(name, data_dir, settings.split), settings.size, bad)
        for name in settings.datasets
    }


def _first(name: str, examples: Sequence[Example], size: int, bad: BadRecords) -> list[Example]:
    def read(place: int) -> Example | None:
        return bad.attempt(f"{name}[{place}]", lambda: decodable(examples[place]))

    found = map(read, range(min(size, len(examples))))
    return [example for example in found if example is not None]


class ExampleSource(Generic[T]):
    """What a run learns from, so many examples at a time, without end.

    Args:
      settings: Which examples, and in which order.
      bad: Counts the records that cannot be used; others stand in for them.
      make: What to make of an example, such as an episode to be taught; raises ValueError or OSError where it cannot.
        Called on reading threads, ahead of time.
      process, num_processes: Which share of the examples this process reads.

    Raises:
      SourceError: see `open_examples`.
    """

    def __init__(
        self,
        settings: DataSettings,
        bad: BadRecords,
        make: Callable[[Example], T] = decodable,
        *,
        process: int = 0,
        num_processes: int = 1,
    ):
        self._parts = _Joined(
            [open_examples(name, settings.data_dir, settings.split) for name in settings.datasets]
        )
        self._settings, self._bad, self._make = settings, bad, make
        self._process, self._num_processes = process, num_processes
        self._next = 0
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="examples")
        self._ahead: dict[int, Future] = {}

    def __len__(self) -> int:
        """Examples of one epoch."""
        return len(self._parts)

    def take(self, count: int) -> list[T]:
        """This process's share of the next `count` examples: the contiguous part that has its number.

        Raises:
          ValueError: the examples do not divide among the processes.
          TooManyBadRecords: see `BadRecords`.
        """
        if count % self._num_processes:
            raise ValueError(
                f"{count} examples a step cannot be split over {self._num_processes} processes; "
                f"give a multiple of {self._num_processes}"
            )
        share = count // self._num_processes
        first = self._next + self._process * share
        # The step to come is read while this one is learned.
        ahead = (*range(first, first + share), *range(first + count, first + count + share))
        self._ahead = {
            place: self._ahead.get(place) or self._threads.submit(self._read, place, 0) for place in ahead
        }
        taken = [self._usable(place) for place in range(first, first + share)]
        self._next += count
        return taken

    @property
    def position(self) -> dict[str, int]:
        """What `restore` takes; JSON, and the same on every process."""
        return {"next": self._next}

    def restore(self, position: Mapping[str, int]) -> None:
        """Goes on from an earlier position."""
        self._next, self._ahead = position["next"], {}

    def close(self) -> None:
        """Ends the reading threads."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _usable(self, place: int) -> T:
        """What is made of the example at a place, or of the first usable one that stands in for it."""
        name, outcome = self._ahead.pop(place).result()
        for attempt in range(1, _MOST_IN_A_ROW + 1):
            made = self._bad.attempt(name, functools.partial(_outcome, outcome))
            if made is not None:
                return made
            name, outcome = self._read(place, attempt)
        raise SourceError(
            f"none of {_MOST_IN_A_ROW} records in a row can be used, and neither can {name!r}: {outcome}"
        )

    def _read(self, place: int, attempt: int) -> tuple[str, T | Exception]:
        """The name of a record, and what is made of it or why it cannot be used."""
        index = int(_order(self._parts.lengths, self._settings, attempt)[place])
        name = self._name(index)
        try:
            example = self._parts[index]
            name = example.id
            return name, self._make(example)
        except (ValueError, OSError) as error:
            return name, error

    def _name(self, index: int) -> str:
        part, place = self._parts.find(index)
        return f"{self._settings.datasets[part]}[{place}]"


def _outcome(outcome: T | Exception) -> T:
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


@functools.lru_cache(maxsize=8)
def _order(lengths: tuple[int, ...], settings: DataSettings, attempt: int) -> Sequence[int]:
    """Numbers of joined examples by place, without end; each attempt at standing in has an order of its own."""
    import grain

    seed = (settings.shuffle_seed + attempt) % 2**32
    if not settings.weights:
        return grain.MapDataset.range(sum(lengths)).shuffle(seed=seed).repeat()
    starts = (0, *itertools.accumulate(lengths))
    parts = [
        grain.MapDataset.range(start, end).shuffle(seed=seed).repeat()
        for start, end in itertools.pairwise(starts)
    ]
    return grain.MapDataset.mix(parts, weights=settings.weights)


class _Joined(Sequence[Example]):
    """Several sequences as one."""

    def __init__(self, parts: Sequence[Sequence[Example]]):
        self._parts = parts
        self.lengths = tuple(map(len, parts))
        self._ends = list(itertools.accumulate(self.lengths))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: SupportsIndex) -> Example:
        part, place = self.find(operator.index(index))
        return self._parts[part][place]

    def find(self, index: int) -> tuple[int, int]:
        """Which part holds an example, and its place there."""
        part = bisect.bisect_right(self._ends, index)
        return part, index - (self._ends[part] - self.lengths[part])
