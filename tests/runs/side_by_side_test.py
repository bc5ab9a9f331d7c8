"""Work side by side: real processes, which give results and errors back and end with their parent."""

import os
import signal
import subprocess
import sys
import time

import pytest

from vigorl_jax.runs.progress import say, titled
from vigorl_jax.runs.side_by_side import Here, Processes


def _product(first, *, second):
    with titled("product"):
        say(f"{first} times {second}")
    return first * second, os.getpid()


def _fails():
    raise ValueError("nothing to multiply")


def _waits(seconds):
    time.sleep(seconds)


def _is_killed():
    os.kill(os.getpid(), signal.SIGKILL)


def test_work_is_done_in_other_processes_with_arguments_results_and_titled_lines(tmp_path, capfd):
    with Processes(2, tmp_path) as workers:
        futures = [workers.submit(_product, first, second=3) for first in range(4)]
        results, processes = zip(*(future.result() for future in futures), strict=True)
    assert results == (0, 3, 6, 9)
    assert os.getpid() not in processes
    assert "product: 2 times 3\n" in capfd.readouterr().err


def test_here_work_is_done_in_this_process():
    assert Here().submit(_product, 2, second=5).result() == (10, os.getpid())
    with pytest.raises(ValueError, match="nothing to multiply"):
        Here().submit(_fails)


def test_an_error_ends_the_other_work(tmp_path):
    def work():
        with Processes(2, tmp_path) as workers:
            workers.submit(_waits, 600)
            workers.submit(_fails).result()

    began = time.monotonic()
    with pytest.raises(ValueError, match="nothing to multiply"):
        work()
    assert time.monotonic() - began < 120


def test_a_process_that_was_killed_is_noticed(tmp_path):
    with pytest.raises(ChildProcessError, match="--jobs=1"), Processes(1, tmp_path) as workers:
        workers.submit(_is_killed).result()


def test_processes_end_with_their_parent(tmp_path):
    """A parent that is killed cannot ask them to stop."""
    program = (
        "from vigorl_jax.runs.side_by_side import Processes\n"
        "from tests.runs.side_by_side_test import _product, _waits\n"
        "if __name__ == '__main__':\n"
        f"    workers = Processes(1, {str(tmp_path)!r})\n"
        "    print(workers.submit(_product, 1, second=1).result()[1], flush=True)\n"
        "    workers.submit(_waits, 600).result()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    for _ in range(200):
        if not _runs(child):
            return
        time.sleep(0.1)
    os.kill(child, signal.SIGKILL)
    pytest.fail("the process outlived its parent by 20 s")


def _runs(process):
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
