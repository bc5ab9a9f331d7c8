"""Compiled programs that outlive the process."""

import os

import jax


def keep_compiled(folder: str | os.PathLike[str], *, least_seconds: float = 0.1) -> None:
    """Keeps compiled programs in a folder, from which later starts and other processes take them.

    least_seconds: programs that compile faster are not worth a file.
    """
    jax.config.update("jax_compilation_cache_dir", os.fspath(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", least_seconds)
