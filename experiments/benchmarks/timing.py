"""How the suites time: two sides in turn, medians, and the machine's own peak beside them."""

import resource
import statistics
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import jax
import jax.numpy as jnp

from vigorl_jax.report.machine import describe

Result = TypeVar("Result")


def paired(sides: Mapping[str, Callable[[], object]], *, repetitions: int) -> dict[str, dict[str, float]]:
    """Times the sides in turn, after one warm-up each, so that a drift of the machine hits all of them.

    Returns, for each side, `median_ms`, `min_ms` and `max_ms`; and for each side but the first `ratio_to_first`:
    the median over repetitions of its time by the first side's time in the same turn (2 = the first is twice
    as fast).
    """
    for side in sides.values():
        side()
    seconds = {name: [] for name in sides}
    for _ in range(repetitions):
        for name, side in sides.items():
            start = time.perf_counter()
            side()
            seconds[name].append(time.perf_counter() - start)
    first = seconds[next(iter(sides))]
    return {
        name: {
            "median_ms": 1e3 * statistics.median(times),
            "min_ms": 1e3 * min(times),
            "max_ms": 1e3 * max(times),
            "ratio_to_first": statistics.median(t / f for t, f in zip(times, first, strict=True)),
        }
        for name, times in seconds.items()
    }


def matmul_peak() -> float:
    """FLOP/s of the best of ten float32 products of 2048 x 2048 matrices on the default device."""
    a = jnp.ones((2048, 2048))
    product = jax.jit(lambda a: a @ a)
    product(a).block_until_ready()
    best = float("inf")
    for _ in range(10):
        start = time.perf_counter()
        product(a).block_until_ready()
        best = min(best, time.perf_counter() - start)
    return 2 * 2048**3 / best


def memory_bandwidth() -> float:
    """Bytes/s of the best of ten sums over 256 MiB of float32 on the default device."""
    a = jnp.ones(1 << 26)
    total = jax.jit(jnp.sum)
    total(a).block_until_ready()
    return a.nbytes / min(elapsed(lambda: total(a).block_until_ready())[1] for _ in range(10))


def elapsed(call: Callable[[], Result]) -> tuple[Result, float]:
    """The result of a call and the seconds that it took."""
    start = time.perf_counter()
    result = call()
    return result, time.perf_counter() - start


def peak_memory_gib() -> float:
    """Largest resident size that this process has had, in GiB (all sides that ran in it together)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def machine() -> dict[str, str | int]:
    """What a reader needs to place the figures, with the versions of the peers."""
    return describe("transformers", "torch")
