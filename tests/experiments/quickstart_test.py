"""The quickstart's choice of processes; what it does in them is tested with `runs.tiny_world`."""

import subprocess
import sys

PROGRAM = """
import contextlib, dataclasses
from experiments import quickstart
from experiments.launch import launch
from vigorl_jax.runs.side_by_side import Here
quickstart.jax.default_backend = lambda: {backend!r}
quickstart.os.cpu_count = lambda: {cores}
quickstart.Processes = lambda jobs, compiled: contextlib.nullcontext(jobs)
quickstart.outcome.write = lambda *_: None
quickstart._show = lambda level, found: print(level.workdir.name, found)


@dataclasses.dataclass
class Going:
    seed: int
    began = 0

    def done(self):
        return isinstance(workers, Here)

    def result(self):
        return f"{{self.seed}} of {{Going.began}}"


def begin(level, seed, given):
    global workers
    Going.began, workers = Going.began + 1, given
    return Going(seed)


quickstart._begin = begin
launch(quickstart.main)
"""


def _quickstart(tmp_path, *flags, backend="cpu", cores=4):
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.format(backend=backend, cores=cores), f"--workdir={tmp_path}", *flags],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def test_each_seed_begins_while_the_one_before_it_ends_where_processes_share_a_cpu(tmp_path):
    both = _quickstart(tmp_path / "w", "--seeds=2").stdout
    assert both == "w ['0 of 2', '1 of 3']\nsecond_level ['0 of 4', '1 of 4']\n"
    alone = _quickstart(tmp_path / "w", "--seeds=2", "--seed=5", "--fast", cores=1).stdout
    assert alone == "w ['5 of 1', '6 of 2']\n"
    assert _quickstart(tmp_path / "w", "--seeds=2", "--fast", "--jobs=3").stdout == "w ['0 of 2', '1 of 2']\n"


def test_an_accelerator_is_left_to_one_process(tmp_path):
    assert (
        _quickstart(tmp_path / "w", "--seeds=2", "--fast", backend="gpu").stdout == "w ['0 of 1', '1 of 2']\n"
    )
    refused = _quickstart(tmp_path, "--jobs=2", backend="gpu")
    assert refused.returncode == 1
    assert "--jobs=2 on gpu: processes cannot share it; give --jobs=1" in refused.stderr
