"""What a preparation will do: the chosen layout, the files of each split, the settings."""

import dataclasses
import os
from collections.abc import Callable, Mapping

from vigorl_jax.datasets.dataset import Dataset, Form
from vigorl_jax.datasets.layouts.layout import Keys
from vigorl_jax.datasets.paths import matches
from vigorl_jax.datasets.refusals import SourceError
from vigorl_jax.datasets.sources import MIB, Limits, Tree
from vigorl_jax.tasks.example import TASKS


def _silent(split: str, rows_read: int) -> None:
    """Reports no progress."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Choices of the user.

    Attributes:
      task: Task of the examples, for data sets that do not fix it.
      keys: Other names of the free columns; None takes the data set's.
      max_dropped_share: Largest share of dropped records that is accepted.
      allow_partial: Accept a source with splits or records missing.
      num_threads: Threads that read and check.
      shard_bytes: A shard is closed when it has this many bytes.
      shard_rows: A shard is closed after this many rows of the source.
      limits: Bounds on what is believed.
      progress: Called with the split and the number of rows read.
    """

    task: str = ""
    keys: Keys | None = None
    max_dropped_share: float = 0.01
    allow_partial: bool = False
    num_threads: int = os.cpu_count() or 1
    shard_bytes: int = 256 * MIB
    shard_rows: int = 50_000
    limits: Limits = dataclasses.field(default_factory=Limits)
    progress: Callable[[str, int], None] = _silent

    def __post_init__(self) -> None:
        """Checks ranges. Raises SourceError."""
        if not 0 <= self.max_dropped_share <= 1:
            raise SourceError(f"max_dropped_share is a share between 0 and 1, got {self.max_dropped_share}.")
        if min(self.num_threads, self.shard_bytes, self.shard_rows) < 1:
            raise SourceError("num_threads, shard_bytes and shard_rows must be at least 1.")


@dataclasses.dataclass(frozen=True)
class Plan:
    """Everything that writing needs: the chosen form, its files a split, task, keys, settings."""

    dataset: Dataset
    form: Form
    tree: Tree
    files: Mapping[str, list[str]]
    task: str
    keys: Keys
    settings: Settings

    def fingerprint(self) -> str:
        """Changes when the source or a setting changes that decides which records are written."""
        return "|".join(
            (self.tree.fingerprint(), self.form.layout.name, self.task, repr(self.keys), repr(self.files))
        )


def make_plan(dataset: Dataset, tree: Tree, settings: Settings) -> Plan:
    """Finds which layout of the data set the source has, and its files.

    Raises:
      SourceError: no layout fits, a split is missing, or two files claim to be the same split.
    """
    task = dataset.task or settings.task
    if task not in TASKS:
        raise SourceError(f"{dataset.name} needs --task, one of {', '.join(TASKS)}; got {task!r}.")
    found = [
        (form, {split: find_files(tree, pattern) for split, pattern in form.files.items()})
        for form in dataset.forms
    ]
    form, files = max(found, key=lambda pair: sum(map(bool, pair[1].values())))
    missing = [split for split, names in files.items() if not names]
    if len(missing) == len(files) or (missing and not settings.allow_partial):
        wanted = "; or ".join(", ".join(form.files.values()) for form in dataset.forms)
        raise SourceError(
            f"{dataset.name}: the source has no files for {', '.join(missing)} (wanted: {wanted}). "
            f"What to get: {dataset.source}."
        )
    files = {split: names for split, names in files.items() if names}
    return Plan(dataset, form, tree, files, task, settings.keys or form.keys, settings)


def find_files(tree: Tree, pattern: str) -> list[str]:
    """Files that a pattern (alternatives divided by `|`) means, sorted.

    A source opened at the pattern's own first folder counts too: `web_grounding/a.jsonl` is found as
    `a.jsonl` in a folder or archive called `web_grounding`. Raises SourceError when a plain name means two
    files.
    """
    names: set[str] = set()
    for part in pattern.split("|"):
        matched = tree.match(part)
        first, _, rest = part.partition("/")
        if not matched and rest and matches(tree.label, first):
            matched = [name for name in tree.match(rest) if name.count("/") == rest.count("/")]
        if len(matched) > 1 and "*" not in part:
            raise SourceError(
                f"{part} means {len(matched)} files ({', '.join(matched[:3])}): point --source at one."
            )
        names.update(matched)
    return sorted(names)
