"""Prepared data sets read back: random access to Examples, and a shuffled, sharded, resumable stream."""

import dataclasses
import functools
import json
import operator
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, SupportsIndex

from vigorl_jax.datasets.builder import final_folder
from vigorl_jax.datasets.refusals import SourceError
from vigorl_jax.tasks.example import Example


class Examples:
    """Random access to the examples of one split; safe to use from many threads, cheap to pickle.

    `examples[i]` reads one record; images stay encoded until `processing.decode` is asked for pixels.
    """

    def __init__(self, folder: Path, split: str):
        self._folder, self._split = folder, split
        self._length = len(self._records)

    @functools.cached_property
    def _records(self):
        import tensorflow_datasets as tfds

        builder = tfds.builder_from_directory(self._folder)
        return builder.as_data_source(self._split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: SupportsIndex) -> Example:
        position = operator.index(index)
        if not -self._length <= position < self._length:
            raise IndexError(f"{self!r} has no example {position}.")
        return _example(self._records[position % self._length])

    def __iter__(self) -> Iterator[Example]:
        return map(self.__getitem__, range(self._length))

    def __getstate__(self) -> dict[str, Any]:
        # Open files do not travel to other processes; they are opened again there.
        return {name: value for name, value in vars(self).items() if name != "_records"}

    def __repr__(self) -> str:
        return f"Examples({str(self._folder)!r}, {self._split!r}, {self._length} examples)"


def _example(data: bytes) -> Example:
    """The Example of a stored record (see `builder.features`).

    The fields are taken straight from the record's message: decoding by tensorflow-datasets copies every
    image twice more, which made reading and decoding a megapixel take up to twice as long as decoding alone.
    """
    from tensorflow_datasets.proto import tf_example_pb2

    message = tf_example_pb2.Example.FromString(data).features.feature
    fields = {name: list(feature.bytes_list.value) for name, feature in message.items()}
    words = {name: fields[name][0].decode() for name in ("id", "task", "question", "answer", "metadata")}
    return Example(
        id=words["id"],
        task=words["task"],
        question=words["question"],
        answer=words["answer"],
        images=tuple(fields["images"]),
        choices=tuple(choice.decode() for choice in fields["choices"]),
        boxes=tuple(struct.iter_unpack("<4d", fields["boxes"][0])),
        metadata=json.loads(words["metadata"]),
    )


def open_split(name: str, data_dir: Path, split: str) -> Examples:
    """The examples of one split of a prepared data set.

    Args:
      name: Name in the catalog.
      data_dir: Root of the prepared data sets.
      split: Name of a split, or a slice of one such as `train[:1000]`.

    Raises:
      SourceError: not prepared, or no such split.
    """
    folder = final_folder(Path(data_dir), name)
    if not (folder / "dataset_info.json").is_file():
        raise SourceError(
            f"{name} is not prepared in {data_dir}: run python -m experiments.prepare_data --dataset {name} "
            f"--source PATH --data_dir {data_dir}."
        )
    splits = split_names(name, data_dir)
    if split.partition("[")[0] not in splits:
        raise SourceError(f"{name} has no split {split!r}; prepared are {', '.join(splits)}.")
    return Examples(folder, split)


def split_names(name: str, data_dir: Path) -> tuple[str, ...]:
    """Splits of a prepared data set."""
    path = final_folder(Path(data_dir), name) / "dataset_info.json"
    return tuple(split["name"] for split in json.loads(path.read_text(encoding="utf-8"))["splits"])


@dataclasses.dataclass(frozen=True)
class Order:
    """In which order, and which part of, a split is streamed.

    Attributes:
      shuffle_seed: Seed of a new random order in every epoch; None keeps the stored order.
      num_epochs: How often the split is repeated; None repeats without end.
      host: Number of this process, 0 to hosts - 1.
      hosts: Number of processes; each epoch, every example goes to exactly one of them.
      num_threads: Threads that read ahead (and run `apply`).
      read_ahead: Most examples in flight.
    """

    shuffle_seed: int | None = None
    num_epochs: int | None = 1
    host: int = 0
    hosts: int = 1
    num_threads: int = 16
    read_ahead: int = 64

    def __post_init__(self) -> None:
        """Checks ranges. Raises ValueError."""
        if not 0 <= self.host < self.hosts:
            raise ValueError(f"host must be one of 0 to {self.hosts - 1}, got {self.host}.")
        if self.num_epochs is not None and self.num_epochs < 1:
            raise ValueError(f"num_epochs must be at least 1, or None for no end; got {self.num_epochs}.")


def stream(examples: Examples, order: Order, apply: Callable[[Example], Any] | None = None):
    """A grain dataset over the examples. Its iterators have `get_state()` and `set_state(state)`.

    A restored state continues with the very next example, whatever the number of threads. States are small,
    made of plain JSON values, and hold for the same data set and the same `order`.

    Args:
      examples: What `open_split` returns (or any random-access sequence of examples).
      order: Order and part.
      apply: Called on every example, on the reading threads: decode, resize, tokenise.
    """
    import grain

    dataset = grain.MapDataset.source(examples)
    if order.shuffle_seed is not None:
        dataset = dataset.shuffle(seed=order.shuffle_seed)
    dataset = dataset[order.host :: order.hosts]
    dataset = dataset.repeat(order.num_epochs)
    if apply is not None:
        dataset = dataset.map(apply)
    options = grain.ReadOptions(num_threads=order.num_threads, prefetch_buffer_size=order.read_ahead)
    return dataset.to_iter_dataset(options)
