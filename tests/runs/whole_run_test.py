"""Whole GRPO runs as processes: killed and resumed bit for bit; the same on one device, eight, and two processes."""

import multiprocessing
import os
import pathlib
import random
import signal
import socket
import time

import numpy as np
import pytest

from vigorl_jax.testing import tiny_run
from vigorl_jax.testing.tiny_run import TinyRun
from vigorl_jax.training.distributed import Hosts


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """The files of the tiny run, and the programs that one of its processes has compiled for the others."""
    folder = tmp_path_factory.mktemp("shared")
    tiny_run.write_files(folder)
    return folder


@pytest.fixture(scope="module")
def begin(shared, tmp_path_factory):
    """begin(name, **fields of TinyRun) starts a process; the name is that of its work directory."""
    server = multiprocessing.get_context("forkserver")
    folder = tmp_path_factory.mktemp("runs")

    def start(name, **given):
        tiny = TinyRun(str(shared), str(folder / name), cache=str(shared / "programs"), **given)
        process = server.Process(target=tiny_run.run, args=(tiny, str(_output(tiny))))
        process.start()
        return tiny, process

    return start


def _output(tiny):
    return pathlib.Path(f"{tiny.workdir}_{tiny.hosts.process_id}.txt")


def _end(started, status=0):
    tiny, process = started
    process.join()
    output = _output(tiny).read_text()
    assert process.exitcode == status, output
    return pathlib.Path(tiny.workdir)


@pytest.fixture(scope="module")
def whole(begin):
    """The work directory of a run of 6 steps that nothing disturbed."""
    return _end(begin("whole"))


def _assert_same(workdir, other):
    assert tiny_run.learned(workdir) == tiny_run.learned(other)
    assert sorted(tiny_run.learned(other)) == list(range(1, 7))
    for ours, theirs in zip(tiny_run.final(workdir), tiny_run.final(other), strict=True):
        assert ours.tobytes() == theirs.tobytes()


def test_a_run_killed_inside_a_save_ends_as_if_it_had_not_been(begin, whole):
    """Parameters, optimizer, order of the data, images, sampled tokens, log-probs and rewards, bit for bit."""
    _end(begin("saving", kill="save:2"), -signal.SIGKILL)
    workdir = _end(begin("saving"))
    _assert_same(workdir, whole)


@pytest.mark.slow
def test_a_chain_of_kills_ends_as_if_there_had_been_none(begin, whole):
    """In a roll out, between roll out and reward, before an update, inside a save, and at a random moment."""
    for moment in ("roll out:2", "reward:1", "learn:2", "save:1"):
        _end(begin("chain", kill=moment), -signal.SIGKILL)
    _, process = begin("chain")
    time.sleep(random.uniform(5, 15))
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    _assert_same(_end(begin("chain")), whole)


@pytest.mark.slow
def test_a_killed_run_that_learns_from_the_sampler_s_embeddings_ends_as_if_it_had_not_been(begin):
    """The tower is frozen, so the learner encodes no image itself."""
    values = {"frozen": "vision"}
    whole = _end(begin("whole_frozen", values=values))
    _end(begin("frozen", values=values, kill="learn:4"), -signal.SIGKILL)
    _assert_same(_end(begin("frozen", values=values)), whole)


@pytest.mark.slow
def test_episodes_rolled_out_ahead_survive_a_kill(begin):
    """With overlap the episodes in flight are part of the checkpoint."""
    values = {"overlap": True, "importance_cap": 2.0}
    whole = _end(begin("ahead", values=values))
    _end(begin("killed_ahead", values=values, kill="learn:4"), -signal.SIGKILL)
    _assert_same(_end(begin("killed_ahead", values=values)), whole)


@pytest.mark.slow
@pytest.mark.parametrize("frozen", ["nothing", "vision"])
def test_results_do_not_depend_on_devices_or_processes(frozen, begin):
    """One device, 8 virtual ones as fsdp 4 x tensor 2, and two processes of one device each: three steps."""
    # Adam divides a gradient by its own size: with an eps of 1e-8 the rounding of a gradient of 0 would move a
    # parameter by the learning rate.
    values = {"frozen": frozen, "num_steps": 3, "learning_rate": 1e-3, "adam_eps": 1e-4}
    alone = _end(begin(f"alone_{frozen}", values=values))
    eight = _end(
        begin(f"eight_{frozen}", devices=8, values={**values, "mesh": "fsdp=4,tensor=2", "micro_rows": 2})
    )
    two_values = {**values, "mesh": "fsdp=2", "micro_rows": 4}
    coordinator = f"localhost:{_free_port()}"
    pair = [
        begin(f"two_{frozen}", hosts=Hosts(coordinator, 2, number), values=two_values) for number in range(2)
    ]
    two, _ = map(_end, pair)
    for workdir in (eight, two):
        _assert_close(workdir, alone)


def _assert_close(workdir, other):
    ours, theirs = tiny_run.learned(workdir), tiny_run.learned(other)
    assert list(ours) == list(theirs) == [1, 2, 3]
    for step in theirs:
        for episode, same in zip(ours[step], theirs[step], strict=True):
            name, tokens, log_probs, reward, pixels = episode
            assert (name, tokens, reward, pixels) == (same[0], same[1], same[3], same[4])
            np.testing.assert_allclose(log_probs, same[2], atol=1e-5)
    for array, same in zip(tiny_run.final(workdir), tiny_run.final(other), strict=True):
        np.testing.assert_allclose(array, same, atol=1e-5)


def _free_port():
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]
