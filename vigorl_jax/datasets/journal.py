"""The record of an unfinished preparation, on disk: shards done, ids seen, records dropped and why.

One SQLite file. It is committed when a shard is complete, together with everything that led to it, so a
process that dies at any moment goes on from the last complete shard; ids live on disk, so memory does not
grow with the data.
"""

import dataclasses
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from vigorl_jax.datasets.refusals import RecordError, SourceError

_TABLES = """
create table if not exists origin (fingerprint text);
create table if not exists seen (split text, id text, primary key (split, id)) without rowid;
create table if not exists dropped (split text, location text, reason text, detail text);
create table if not exists categories (split text, category text, records int, primary key (split, category));
create table if not exists shards (split text, number int, records int, bytes int, rows_read int);
create table if not exists finished (split text primary key);
"""


@dataclasses.dataclass(frozen=True)
class Shard:
    """One complete file: number, records, bytes, and the rows of the source read up to its end."""

    number: int
    records: int
    bytes: int
    rows_read: int


class Journal:
    """What a preparation has done so far.

    Raises:
      SourceError: the journal belongs to another source or other settings, or another process holds it.
    """

    def __init__(self, path: Path, fingerprint: str):
        self._database = sqlite3.connect(path, timeout=0)
        self._database.execute("pragma locking_mode = exclusive")
        try:
            self._database.executescript(f"begin exclusive; {_TABLES} commit;")
        except sqlite3.OperationalError as error:
            raise SourceError(f"{path.parent} is in use by another preparation ({error}).") from error
        found = self._database.execute("select fingerprint from origin").fetchone()
        if found is None:
            self._database.execute("insert into origin values (?)", (fingerprint,))
            self._database.commit()
        elif found[0] != fingerprint:
            raise SourceError(
                f"{path.parent} is unfinished work on another source or with other settings; "
                "delete it to start again."
            )

    def shards(self, split: str) -> list[Shard]:
        """Complete shards of a split, in order."""
        rows = self._database.execute(
            "select number, records, bytes, rows_read from shards where split = ? order by number", (split,)
        )
        return [Shard(*row) for row in rows]

    def is_finished(self, split: str) -> bool:
        """Whether all rows of the split were read."""
        return (
            self._database.execute("select 1 from finished where split = ?", (split,)).fetchone() is not None
        )

    def add_id(self, split: str, record_id: str) -> bool:
        """Notes an id; False when the split has it already."""
        added = self._database.execute("insert or ignore into seen values (?, ?)", (split, record_id))
        return added.rowcount == 1

    def add_dropped(self, split: str, location: str, error: RecordError) -> None:
        """Notes a dropped record."""
        # Names of files may hold bytes that are no text.
        texts = (split, location, error.reason, error.detail[:1000])
        row = tuple(text.encode(errors="backslashreplace").decode() for text in texts)
        self._database.execute("insert into dropped values (?, ?, ?, ?)", row)

    def add_category(self, split: str, category: str) -> None:
        """Counts a kept record under its category."""
        self._database.execute(
            "insert into categories values (?, ?, 1) on conflict do update set records = records + 1",
            (split, category),
        )

    def add_shard(self, split: str, shard: Shard) -> None:
        """Notes a complete shard and makes everything up to it durable."""
        row = (split, shard.number, shard.records, shard.bytes, shard.rows_read)
        self._database.execute("insert into shards values (?, ?, ?, ?, ?)", row)
        self._database.commit()

    def finish(self, split: str) -> None:
        """Notes that a split is complete."""
        self._database.execute("insert or ignore into finished values (?)", (split,))
        self._database.commit()

    def categories(self) -> dict[str, int]:
        """Kept records a category, over all splits."""
        rows = self._database.execute(
            "select category, sum(records) from categories group by category order by 1"
        )
        return dict(rows.fetchall())

    def dropped(self, split: str) -> dict[str, int]:
        """Dropped records a reason."""
        rows = self._database.execute(
            "select reason, count(*) from dropped where split = ? group by reason order by 1", (split,)
        )
        return dict(rows.fetchall())

    def dropped_records(self) -> Iterator[dict[str, str]]:
        """Every dropped record: split, location, reason, detail."""
        names = ("split", "location", "reason", "detail")
        for row in self._database.execute(
            "select split, location, reason, detail from dropped order by rowid"
        ):
            yield dict(zip(names, row, strict=True))

    def close(self) -> None:
        """Closes the file; what was not committed is forgotten."""
        self._database.close()
