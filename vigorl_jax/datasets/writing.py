"""Rows of a source become shards of records: parsed and checked on threads, written in order, resumable."""

import collections
import contextlib
import itertools
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from vigorl_jax.datasets.checks import check
from vigorl_jax.datasets.journal import Journal, Shard
from vigorl_jax.datasets.layouts.layout import Place
from vigorl_jax.datasets.plan import Plan
from vigorl_jax.datasets.refusals import RecordError, SourceError
from vigorl_jax.tasks.example import Example

# Encoded images do not compress further; packing one record a group makes a random read one small read.
_RECORD_OPTIONS = "group_size:1,uncompressed"

Outcome = Example | RecordError


def outcomes(plan: Plan, split: str, skip: int) -> Iterator[tuple[str, Outcome]]:
    """(location, Example or refusal) of each row of a split after the first `skip`, in source order."""
    form = plan.form

    def rows() -> Iterator[tuple[str, str, Any]]:
        for file in plan.files[split]:
            try:
                for location, row in form.layout.rows(plan.tree, file, plan.settings.limits):
                    yield file, location, row
            except (RecordError, zipfile.BadZipFile, zlib.error, EOFError) as error:
                raise SourceError(f"The annotation file {file!r} cannot be read: {error}") from error

    def outcome(item: tuple[str, str, Any]) -> tuple[str, Outcome]:
        file, location, row = item
        if isinstance(row, RecordError):
            return location, row
        try:
            draft = form.layout.parse(row, Place(plan.tree, file, location, plan.task, plan.keys))
            return location, check(draft, plan.task, plan.form.box)
        except RecordError as error:
            return location, error

    return ordered_map(outcome, itertools.islice(rows(), skip, None), plan.settings.num_threads)


def ordered_map(function: Callable, items: Iterable, num_threads: int) -> Iterator:
    """`map` on threads: results in order, at most four times as many items in flight as threads."""
    waiting: collections.deque[Future] = collections.deque()
    with ThreadPoolExecutor(num_threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= 4 * num_threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def record(example: Example) -> dict[str, Any]:
    """The features of an example as tensorflow-datasets stores them."""
    import numpy as np

    return {
        "id": example.id,
        "task": example.task,
        "question": example.question,
        "answer": example.answer,
        "images": list(example.images),
        "choices": list(example.choices),
        "boxes": np.asarray(example.boxes, np.float64).reshape(-1, 4),
        "metadata": json.dumps(dict(example.metadata), ensure_ascii=False, sort_keys=True),
    }


def write_split(
    plan: Plan, split: str, journal: Journal, folder: Path, serialize: Callable[[dict], bytes]
) -> None:
    """Writes the shards of one split into `folder`, going on after the last complete one.

    Args:
      plan: What to read and how.
      split: Name of the split.
      journal: Where progress is kept.
      folder: Where shards go; file names are those of `shard_path`.
      serialize: Turns features into the bytes of a record.
    """
    if journal.is_finished(split):
        return
    done = journal.shards(split)
    position = done[-1].rows_read if done else 0
    source = outcomes(plan, split, position)
    number = len(done)
    while True:
        path = shard_path(folder, split, number)
        shard = _write_shard(plan, split, journal, path, serialize, source, Shard(number, 0, 0, position))
        if shard.rows_read == position:
            path.unlink()
            break
        position, number = shard.rows_read, number + 1
        journal.add_shard(split, shard)
    journal.finish(split)


def shard_path(folder: Path, split: str, number: int) -> Path:
    """Where a shard lies until the number of shards is known."""
    return folder / f"{split}.{number:05d}.shard"


def _write_shard(plan, split, journal, path, serialize, source, shard: Shard) -> Shard:
    """Writes records until the shard is full or the source ends; dropped records count as read."""
    from array_record.python.array_record_module import ArrayRecordWriter

    records = size = 0
    rows_read = shard.rows_read
    with contextlib.closing(ArrayRecordWriter(os.fspath(path), _RECORD_OPTIONS)) as writer:
        for location, outcome in source:
            rows_read += 1
            if isinstance(outcome, Example) and not journal.add_id(split, outcome.id):
                outcome = RecordError("duplicate_id", f"{outcome.id!r} was read before.")
            if isinstance(outcome, RecordError):
                journal.add_dropped(split, location, outcome)
            else:
                data = serialize(record(outcome))
                writer.write(data)
                records, size = records + 1, size + len(data)
                journal.add_category(split, str(outcome.metadata.get("category", "")))
            plan.settings.progress(split, rows_read)
            if size >= plan.settings.shard_bytes or rows_read - shard.rows_read >= plan.settings.shard_rows:
                break
    return Shard(shard.number, records, size, rows_read)
