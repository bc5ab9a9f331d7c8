"""SIGTERM and SIGINT: the first asks the run to stop at a step boundary, the second ends the process at once."""

import os
import signal
import sys
import threading
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupted(Exception):
    """A step was given up before its update began; the state is that of the last step boundary."""


class Interruption:
    """Notes the first signal; ends the process at the second, or when `grace_seconds` have passed since the first.

    A process ended so exits with status 128 + the signal's number, as if it had not been caught, and leaves the last
    complete checkpoint as it is. A context manager for the main thread; the old handlers come back at its end.

    Attributes:
      received: name of the first signal, such as "SIGTERM"; "" before.
    """

    def __init__(self, grace_seconds: float):
        self.received = ""
        self._grace_seconds = grace_seconds
        self._old: dict[int, object] = {}
        self._timer: threading.Timer | None = None

    def __enter__(self) -> "Interruption":
        self._old = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
        if self._timer is not None:
            self._timer.cancel()

    def _handle(self, number: int, _: FrameType | None) -> None:
        name = signal.Signals(number).name
        if self.received:
            _end(number, f"{name} again: ended at once; the last complete checkpoint is kept")
        self.received = name
        late = f"{name}: not finished after {self._grace_seconds:g} s; the last complete checkpoint is kept"
        self._timer = threading.Timer(self._grace_seconds, _end, (number, late))
        self._timer.daemon = True
        self._timer.start()


def _end(number: int, message: str) -> None:
    # os.write: a handler may run inside a write to sys.stderr, which is not re-entrant.
    os.write(sys.__stderr__.fileno(), f"{message}\n".encode())
    os._exit(128 + number)
