"""The host's memory allocator, set so that large temporaries are reused."""

import contextlib
import ctypes

# Parameters of glibc's mallopt(3).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8


def keep_freed_memory() -> None:
    """Tells glibc to keep large freed blocks instead of giving them back to the system; elsewhere does nothing.

    XLA for CPU allocates its temporaries anew in every call. By default glibc returns those above 32 MiB at once and
    the kernel clears every page again: attention over 1,024 patches takes twice as long. Call it once, early.
    """
    with contextlib.suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        # An older glibc refuses a threshold above 2^25, and the last accepted one holds.
        for threshold in (1 << 25, (1 << 31) - 1):
            mallopt(_MMAP_THRESHOLD, threshold)
        mallopt(_TRIM_THRESHOLD, (1 << 31) - 1)
        mallopt(_TOP_PAD, 1 << 26)
        mallopt(_ARENA_MAX, 1)  # the arenas of threads give memory back whatever the threshold
