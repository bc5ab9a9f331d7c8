"""Names the phase in which a run hangs, with the stacks of all threads."""

import faulthandler
import os
import pathlib
import threading
from collections.abc import Callable

from vigorl_jax.runs.clock import Clock, Phase

FILE_NAME = "stalls.txt"


class Watchdog:
    """A thread that reports a phase which lasts longer than a limit, once, and goes on watching.

    The stacks of all threads are appended to `stalls.txt`. The run is not ended unless `exit_seconds` asks for it.

    Args:
      clock: whose current phase is watched.
      limit_seconds: how long a phase may last.
      directory: where `stalls.txt` is written.
      report: takes one line for the user; called from the watchdog's thread.
      exit_seconds: end the process with status 1 when a phase lasts so long, so that a cluster starts it again;
        0: never.
    """

    def __init__(
        self,
        clock: Clock,
        limit_seconds: float,
        directory: pathlib.Path,
        report: Callable[[str], None],
        *,
        exit_seconds: float = 0.0,
    ):
        self._clock, self._limit, self._exit = clock, limit_seconds, exit_seconds
        self._path, self._report = directory / FILE_NAME, report
        self._reported = -1
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> "Watchdog":
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        pause = min(limit for limit in (self._limit, self._exit) if limit) / 10
        while not self._stop.wait(min(pause, 10.0)):
            phase = self._clock.current
            seconds = self._clock.now() - phase.began
            if seconds > self._limit and phase.number != self._reported:
                self._reported = phase.number
                self._describe(phase, seconds)
            if self._exit and seconds > self._exit:
                self._report(f"stall: {phase.name!r} lasts {seconds:.0f} s; the process ends with status 1")
                os._exit(1)

    def _describe(self, phase: Phase, seconds: float) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"\n{phase.name!r} for {seconds:.1f} s\n")
            file.flush()
            faulthandler.dump_traceback(file, all_threads=True)
        self._report(
            f"stall: {phase.name!r} has lasted {seconds:.0f} s, longer than {self._limit:g} s; "
            f"stacks in {self._path}"
        )
