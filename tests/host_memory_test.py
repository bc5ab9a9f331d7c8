import pathlib
import subprocess
import sys

import pytest

HUGE_PAGES = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")
SCRIPT = """
import numpy as np
from vigorl_jax.host_memory import keep_freed_memory

def memory(name):
    with open("/proc/self/smaps_rollup") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(name))

before = memory("Rss")
keep_freed_memory()
reserved = memory("Rss") - before
block = np.ones(1 << 26, np.uint8)
held = memory("Rss")
del block
print(reserved, memory("AnonHugePages"), held - memory("Rss"))
"""


@pytest.mark.skipif(
    not HUGE_PAGES.exists() or "[never]" in HUGE_PAGES.read_text(), reason="no huge pages here"
)
def test_freed_memory_is_kept_in_huge_pages_and_none_is_taken_beforehand():
    run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    reserved, huge, given_back = map(int, run.stdout.split())
    assert reserved < 8 << 10  # KiB, of a GiB
    assert huge >= 32 << 10
    assert given_back < 8 << 10
