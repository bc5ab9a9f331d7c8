"""What a run tells its user while it goes: a bar on a terminal, plain lines elsewhere.

Processes that work side by side share a terminal: each calls `share_terminal` once and `titled` for each thing it does.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TextIO

from tqdm import tqdm

_GIB = 1 << 30
# On a terminal a line begins and ends where another process may have drawn its bar.
_OVER_A_BAR = "\r{}\x1b[K"


class _Place:
    """Where this process shows what it does, and how it is called."""

    row, title = 0, ""


def share_terminal(row: int, lock: AbstractContextManager) -> None:
    """Has this process draw its bars so many rows below the cursor, while it holds the lock of all that share it."""
    tqdm.set_lock(lock)
    _Place.row = row


@contextlib.contextmanager
def titled(title: str) -> Iterator[None]:
    """Puts a title in front of the bars and lines of this process."""
    before, _Place.title = _Place.title, title
    try:
        yield
    finally:
        _Place.title = before


def say(text: str, stream: TextIO | None = None) -> None:
    """Shows a line of its own above all bars, behind the title; may be called from any thread."""
    stream = stream or sys.stderr
    line = f"{_Place.title}: {text}" if _Place.title else text
    tqdm.write(_OVER_A_BAR.format(line) if stream.isatty() else line, file=stream)
    stream.flush()


class Progress:
    """The progress of a run, on standard error.

    Args:
      num_steps: steps of the whole run.
      done: steps finished by earlier processes.
      headline: names of the metrics to show, in order.
      every_seconds: time between plain lines; the first and the last step are always shown.
    """

    def __init__(
        self,
        num_steps: int,
        done: int,
        headline: Sequence[str],
        *,
        every_seconds: float = 10.0,
        stream: TextIO | None = None,
        now: Callable[[], float] = time.monotonic,
    ):
        self._num_steps, self._headline = num_steps, tuple(headline)
        self._stream, self._now = stream or sys.stderr, now
        self._every, self._shown = every_seconds, -float("inf")
        self._first, self._began = done, now()
        self._bar = None
        if self._stream.isatty():
            self._bar = tqdm(
                total=num_steps, initial=done, file=self._stream, dynamic_ncols=True, unit="step",
                desc=_Place.title or None, position=_Place.row, leave=not _Place.row,
            )  # fmt: skip

    def step(self, number: int, metrics: Mapping[str, float]) -> None:
        """Shows a finished step."""
        text = summary(metrics, self._headline)
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update(number - self._bar.n)
        elif self._now() - self._shown >= self._every or number == self._num_steps:
            self._shown = self._now()
            self.say(f"step {number}/{self._num_steps}: {text}{self._left(number)}")

    def say(self, text: str) -> None:
        """As the function `say`."""
        say(text, self._stream)

    def close(self) -> None:
        """Ends the bar."""
        if self._bar is not None:
            self._bar.close()

    def _left(self, number: int) -> str:
        done = number - self._first
        if done < 2 or number == self._num_steps:
            return ""
        seconds = (self._now() - self._began) / done * (self._num_steps - number)
        return f" | {tqdm.format_interval(seconds)} left"


def summary(metrics: Mapping[str, float], headline: Sequence[str]) -> str:
    """One line: the headline metrics, seconds by phase, tokens a second, memory.

    "loss 0.52 reward 0.25 | 3.1 s (roll out 2.0, learn 1.0) | 812 tokens/s | 1.4 GiB"
    """
    parts = [" ".join(f"{name} {metrics[name]:.4g}" for name in headline if name in metrics)]
    seconds = {
        name.removeprefix("time/"): value for name, value in metrics.items() if name.startswith("time/")
    }
    rate = seconds.pop("tokens_per_second", None)
    if "step" in seconds:
        whole = seconds.pop("step")
        phases = ", ".join(f"{name} {value:.2g}" for name, value in seconds.items())
        parts.append(f"{whole:.2g} s" + (f" ({phases})" if phases else ""))
    if rate is not None:
        parts.append(f"{rate:,.0f} tokens/s")
    memory = [metrics[name] / _GIB for name in ("memory/host_peak", "memory/device_peak") if name in metrics]
    if memory:
        parts.append(" + ".join(f"{gib:.1f}" for gib in memory) + " GiB")
    return " | ".join(part for part in parts if part)


class Silence:
    """The progress of the processes that do not report."""

    def step(self, number: int, metrics: Mapping[str, float]) -> None:
        """Shows nothing."""

    def say(self, text: str) -> None:
        """Shows nothing."""

    def close(self) -> None:
        """Nothing to end."""
