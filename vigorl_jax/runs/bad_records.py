"""Records that cannot be used: skipped, counted, named, and the end of the run when they are too many."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import TypeVar

from vigorl_jax.runs.fields import check, number

T = TypeVar("T")
_NAMED = 10


class TooManyBadRecords(ValueError):
    """More than the allowed share of records cannot be used."""


@dataclasses.dataclass(frozen=True)
class BadRecordSettings:
    """When bad records end a run.

    Attributes:
      max_share: share of the records seen that may be bad; 0 stops at the first.
      window: until so many records are seen, the share is taken of this number: 2 bad ones among the first 3 of a
        million are no reason to stop.
    """

    max_share: float = number(0.01, least=0, most=1)
    window: int = number(100, least=1)

    def __post_init__(self) -> None:
        """Refuses values out of bounds."""
        check(self)


class BadRecords:
    """Counts records and skips the bad ones.

        image = bad_records.attempt(example.id, lambda: decode(example.images[0]))
        if image is None: continue

    Args:
      settings: when to stop.
      report: takes one line for each of the first few bad records.
    """

    def __init__(self, settings: BadRecordSettings, report: Callable[[str], None]):
        self._settings, self._report = settings, report
        self.seen = self.bad = 0
        self._names: list[str] = []

    def attempt(self, name: str, make: Callable[[], T]) -> T | None:
        """What `make` returns, or None where it raises ValueError or OSError (`name` is then a bad record).

        Raises:
          TooManyBadRecords: more than the allowed share is bad.
        """
        self.seen += 1
        try:
            return make()
        except (ValueError, OSError) as error:
            self._skip(name, error)
        return None

    def counters(self) -> dict[str, int | list[str]]:
        """What `restore` takes, as JSON."""
        return {"seen": self.seen, "bad": self.bad, "names": list(self._names)}

    def restore(self, counters: Mapping[str, int | list[str]]) -> None:
        """Goes on from earlier counts."""
        self.seen, self.bad, self._names = counters["seen"], counters["bad"], list(counters["names"])

    def _skip(self, name: str, error: Exception) -> None:
        self.bad += 1
        if self.bad <= _NAMED:
            self._names.append(name)
            self._report(f"record {name!r} is skipped: {error}")
        settings = self._settings
        if self.bad > settings.max_share * max(self.seen, settings.window):
            raise TooManyBadRecords(
                f"{self.bad} of {self.seen} records cannot be used, more than a share of {settings.max_share:g}: "
                f"{', '.join(self._names)}{', ...' if self.bad > _NAMED else ''}; the last: {error}; "
                "mend the data, or allow a larger share"
            ) from error
