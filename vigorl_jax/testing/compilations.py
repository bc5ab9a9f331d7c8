"""Counts what XLA compiles, in the jitted functions under test and anywhere else."""

import contextlib
from collections.abc import Iterator

import jax

_EVENT = "/jax/core/compile/backend_compile_duration"


@contextlib.contextmanager
def compilations() -> Iterator[list[float]]:
    """A list that receives the seconds of each compilation while the context is open."""
    seconds: list[float] = []
    is_open = True

    def listen(event: str, duration: float, **_: object) -> None:
        if is_open and event == _EVENT:
            seconds.append(duration)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield seconds
    finally:
        is_open = False  # listeners cannot be taken away
