"""What every binary does beside its work, in a process of its own."""

import subprocess
import sys

import pytest


def _launched(work):
    program = f"from experiments.launch import launch\ndef run():\n    {work}\nlaunch(run)\n"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("work", "status", "line"),
    [
        ("return 3", 3, ""),
        ("raise ValueError('no such level')", 1, "-c: no such level\n"),
        ("raise KeyboardInterrupt", 130, "-c: interrupted\n"),
        ("raise KeyboardInterrupt('GRPO: SIGINT after step 7')", 130, "-c: interrupted GRPO: SIGINT after step 7\n"),
    ],
)  # fmt: skip
def test_the_status_and_one_line_say_how_it_ended(work, status, line):
    ended = _launched(work)
    assert (ended.returncode, ended.stderr) == (status, line)
