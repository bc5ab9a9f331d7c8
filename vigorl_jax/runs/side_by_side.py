"""Independent pieces of work, each in a process of its own, so that one computes while another waits for its host."""

import concurrent.futures
import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from typing import Any, ParamSpec, Protocol, TypeVar

from vigorl_jax.host_memory import keep_freed_memory
from vigorl_jax.runs import progress
from vigorl_jax.runs.compiled import keep_compiled

P, T = ParamSpec("P"), TypeVar("T")


class Workers(Protocol):
    """Takes work, as the executors of `concurrent.futures` do."""

    def submit(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Has a piece of work done; a function of a module, whose arguments and result can be pickled."""


class Here:
    """Does all work in this process, at once: for accelerators, which belong to one process."""

    def submit(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """See `Workers`; raises what the work raises."""
        future = Future()
        future.set_result(work(*args, **kwargs))
        return future


class Processes:
    """Does work in some processes of the same machine, which share a folder of compiled programs and the terminal.

    A context manager. Where it is left by an error or an interrupt, its processes are asked to stop, as by SIGTERM; an
    error of theirs that was the end of a process becomes a ChildProcessError.

    Args:
      count: of processes.
      compiled: folder of compiled programs.
    """

    def __init__(self, count: int, compiled: str | os.PathLike[str]):
        context = multiprocessing.get_context("spawn")
        self._pool = concurrent.futures.ProcessPoolExecutor(
            count, context, _begin, (os.fspath(compiled), context.Value("i", 0), context.RLock())
        )

    def submit(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """See `Workers`; the future raises what the work raises."""
        return self._pool.submit(work, *args, **kwargs)

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, *_: Any) -> None:
        if kind is None:
            self._pool.shutdown()
            return
        self._pool.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            child.terminate()
        if isinstance(error, BrokenProcessPool):
            raise ChildProcessError(
                "a process of several was killed, perhaps for its memory; give --jobs=1 to work in one"
            ) from error


def _begin(compiled: str, begun: Any, lock: Any) -> None:
    """What each process does first."""
    keep_freed_memory()
    keep_compiled(compiled)
    with begun.get_lock():
        row, begun.value = begun.value, begun.value + 1
    progress.share_terminal(row, lock)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Nobody waits for the work of a process whose parent was killed."""
    multiprocessing.parent_process().join()
    os._exit(1)
