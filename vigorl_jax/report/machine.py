"""The machine that figures were measured on, as they are published beside it."""

import importlib.metadata
import os
import pathlib
import platform

import jax

_CPU_INFO = pathlib.Path("/proc/cpuinfo")


def describe(*packages: str) -> dict[str, str | int]:
    """Processor, cores, accelerator and Python, with the versions of JAX and of further packages."""
    return {
        "processor": _processor(),
        "cores": _cores(),
        "device": jax.devices()[0].device_kind,
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in ("jax", "flax", "numpy", *packages)},
    }


def _processor() -> str:
    """The model's name where Linux tells it, else what the platform says."""
    lines = _CPU_INFO.read_text(encoding="utf-8").splitlines() if _CPU_INFO.exists() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _cores() -> int:
    """Those that this process may use, where the system tells."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
