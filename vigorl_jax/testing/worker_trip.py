"""The way of a value to a worker process and back."""

import multiprocessing
from typing import TypeVar

Value = TypeVar("Value")


def sent(value: Value) -> Value:
    """What arrives of a small value at the other end of a pipe between processes."""
    here, there = multiprocessing.Pipe()
    with here, there:
        here.send(value)
        return there.recv()
