"""What a preparation read, kept and dropped, and whether that is the whole data set."""

import dataclasses
import itertools
import json
from collections.abc import Mapping
from pathlib import Path

from vigorl_jax.datasets.journal import Journal
from vigorl_jax.datasets.plan import Plan
from vigorl_jax.datasets.refusals import SourceError

REPORT_NAME = "report.json"
DROPPED_NAME = "dropped.jsonl"


@dataclasses.dataclass(frozen=True)
class SplitReport:
    """Records read, kept, dropped (by reason) in one split; the published number, if known."""

    read: int
    kept: int
    dropped: Mapping[str, int]
    expected: int | None


@dataclasses.dataclass(frozen=True)
class Report:
    """The outcome of a preparation.

    Attributes:
      name: The data set.
      layout: The layout that the source had.
      splits: One report a split.
      categories: Kept records a category.
      verified: Published counts that were found, by name; empty where none is known.
    """

    name: str
    layout: str
    splits: Mapping[str, SplitReport]
    categories: Mapping[str, int]
    verified: tuple[str, ...]

    def lines(self) -> list[str]:
        """The report as text for a person."""
        found = [f"{self.name} ({self.layout})"]
        for split, part in self.splits.items():
            found.append(
                f"  {split}: read {part.read}, kept {part.kept}, dropped {sum(part.dropped.values())}"
            )
            found += [f"    dropped {count}: {reason}" for reason, count in part.dropped.items()]
        found.append(
            f"  counts verified: {', '.join(self.verified) or 'none (not published, or partial source)'}"
        )
        return found

    def save(self, folder: Path) -> None:
        """Writes `report.json`."""
        (folder / REPORT_NAME).write_text(
            json.dumps(dataclasses.asdict(self), indent=2) + "\n", encoding="utf-8"
        )


def make_report(plan: Plan, journal: Journal) -> Report:
    """Reads a report off the journal."""
    splits = {}
    for split in plan.files:
        shards = journal.shards(split)
        splits[split] = SplitReport(
            read=shards[-1].rows_read if shards else 0,
            kept=sum(shard.records for shard in shards),
            dropped=journal.dropped(split),
            expected=plan.dataset.counts.get(split),
        )
    categories = {name: count for name, count in journal.categories().items() if name}
    verified = [
        split for split, part in splits.items() if part.expected is not None and part.kept == part.expected
    ]
    verified += [name for name, count in plan.dataset.categories.items() if categories.get(name) == count]
    return Report(plan.dataset.name, plan.form.layout.name, splits, categories, tuple(verified))


def check_complete(plan: Plan, journal: Journal) -> None:
    """Refuses a result that is not the data set that it claims to be.

    Raises:
      SourceError: nothing kept in a split, more dropped than `max_dropped_share`, or (without
      `allow_partial`) a
        number of records other than the published one.
    """
    report = make_report(plan, journal)
    read = sum(part.read for part in report.splits.values())
    dropped = sum(sum(part.dropped.values()) for part in report.splits.values())
    for split, part in report.splits.items():
        if not part.kept:
            raise SourceError(f"{report.name}: no record of split {split!r} was kept. {_reasons(journal)}")
    if dropped > plan.settings.max_dropped_share * read:
        raise SourceError(
            f"{report.name}: {dropped} of {read} records were dropped, more than --max_dropped_share="
            f"{plan.settings.max_dropped_share}. {_reasons(journal)}"
        )
    if not plan.settings.allow_partial:
        _check_counts(plan, report)


def _reasons(journal: Journal) -> str:
    first = [
        f"{row['location']}: {row['reason']} ({row['detail']})"
        for row in itertools.islice(journal.dropped_records(), 3)
    ]
    return "First of them: " + "; ".join(first) if first else ""


def _check_counts(plan: Plan, report: Report) -> None:
    for split, part in report.splits.items():
        if part.expected is not None and part.kept != part.expected:
            raise SourceError(
                f"{report.name}: split {split!r} has {part.kept} records, published are {part.expected}; "
                "complete the source, or accept it with --allow_partial."
            )
    for name, count in plan.dataset.categories.items() if plan.form.has_categories else ():
        if report.categories.get(name, 0) != count:
            raise SourceError(
                f"{report.name}: category {name!r} has {report.categories.get(name, 0)} records, "
                f"published are {count}; complete the source, or accept it with --allow_partial."
            )


def save_dropped(journal: Journal, folder: Path) -> None:
    """Writes every dropped record by name to `dropped.jsonl`."""
    with (folder / DROPPED_NAME).open("w", encoding="utf-8") as stream:
        for row in journal.dropped_records():
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")
