"""Test environment: eight virtual CPU devices, set before the first import of JAX reads it."""

import os

flags = os.environ.get("XLA_FLAGS", "")
if "xla_force_host_platform_device_count" not in flags:
    os.environ["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count=8".strip()
# XLA's CPU collectives wait for each other: with fewer threads than devices they stop and abort.
os.environ.setdefault("NPROC", "32")
