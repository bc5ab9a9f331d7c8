"""The host's memory allocator, set so that large temporaries are reused."""

import contextlib
import ctypes

# Parameters of glibc's mallopt(3).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8
# Of madvise(2).
_HUGE_PAGES, _HUGE_PAGE = 14, 1 << 21
_HEAP = 1 << 30


def keep_freed_memory() -> None:
    """Tells glibc to keep large freed blocks, in huge pages, instead of giving them back; elsewhere does nothing.

    XLA for CPU allocates its temporaries anew in every call. By default glibc returns those above 32 MiB at once and
    the kernel clears every page again: attention over 1,024 patches takes twice as long. In pages of 2 MiB a step of a
    small model takes a tenth less again. Call it once, early.
    """
    with contextlib.suppress(AttributeError, OSError):
        libc = ctypes.CDLL(None)
        mallopt = libc.mallopt
        # An older glibc refuses a threshold above 2^25, and the last accepted one holds.
        for threshold in (1 << 25, (1 << 31) - 1):
            mallopt(_MMAP_THRESHOLD, threshold)
        mallopt(_TRIM_THRESHOLD, (1 << 31) - 1)
        mallopt(_TOP_PAD, 1 << 26)
        mallopt(_ARENA_MAX, 1)  # the arenas of threads give memory back whatever the threshold
        _use_huge_pages(libc)


def _use_huge_pages(libc: ctypes.CDLL) -> None:
    """Wants huge pages for the first GiB of the heap, which takes no memory before it is used."""
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    if block := libc.malloc(_HEAP):
        start = -(-block // _HUGE_PAGE) * _HUGE_PAGE
        libc.madvise(start, block + _HEAP - start, _HUGE_PAGES)
        libc.free(block)
