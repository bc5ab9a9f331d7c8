"""Where the time of a step goes, by named phase; read by the log, the progress line and the watchdog."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator

BETWEEN = "between phases"


@dataclasses.dataclass(frozen=True)
class Phase:
    """What a run is doing: the phase's name, when it began (seconds of the clock), and its serial number."""

    name: str
    began: float
    number: int


class Clock:
    """Adds up seconds by phase. Written by the run's thread, `current` may be read by any.

        with clock.phase("roll out"):
            ...

    A phase inside another stops the outer one's time: seconds add up to the whole. `now` is replaceable in tests.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic):
        self._now = now
        self._seconds: dict[str, float] = {}
        self._lap_began = self._entered = now()
        self.current = Phase(BETWEEN, self._entered, 0)

    def now(self) -> float:
        """Seconds, from an arbitrary start."""
        return self._now()

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Counts the time inside to `name`."""
        outer = self.current
        self._switch(name)
        try:
            yield
        finally:
            self._switch(outer.name)

    def lap(self) -> dict[str, float]:
        """Seconds by phase since the last lap, and "step": all of them. Starts the next lap."""
        self._switch(self.current.name)
        now = self._entered
        seconds = {**self._seconds, "step": now - self._lap_began}
        self._seconds, self._lap_began = {}, now
        return seconds

    def _switch(self, name: str) -> None:
        now, old = self._now(), self.current
        if old.name != BETWEEN:
            self._seconds[old.name] = self._seconds.get(old.name, 0.0) + now - self._entered
        self._entered = now
        self.current = Phase(name, now, old.number + 1)
