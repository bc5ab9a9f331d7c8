"""A run that is killed anywhere, or told to stop, goes on as if nothing had happened: bit for bit."""

import contextlib
import pathlib
import random
import signal
import socket
import time

import numpy as np
import pytest

from vigorl_jax.training.distributed import Hosts

STEPS = 8
# Large enough that a save is still being written when the kill arrives.
WIDTH = 1 << 16


def final(workdir: pathlib.Path) -> list[np.ndarray]:
    with np.load(workdir / "final.npz") as arrays:
        return [arrays[name] for name in sorted(arrays.files)]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


def assert_same_run(workdir: pathlib.Path, other: pathlib.Path, metrics_of) -> None:
    lines = metrics_of(other)
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    assert metrics_of(workdir) == lines
    for ours, theirs in zip(final(workdir), final(other), strict=True):
        assert ours.tobytes() == theirs.tobytes()


def checkpoints(workdir: pathlib.Path) -> list[str]:
    return sorted(path.name for path in (workdir / "checkpoints").iterdir())


def test_a_chain_of_kills_ends_where_an_unkilled_run_ends(begin, tmp_path, metrics_of):
    """Killed in a roll-out, in an update, inside a save, and at a random moment, each time in another step."""
    whole = begin(workdir=str(tmp_path / "whole"), width=WIDTH)
    for moment in ("roll out:2", "update:4", "save:2", "roll out:6"):
        begin(kill=moment, width=WIDTH).end(-signal.SIGKILL)
        if moment.startswith("save"):
            assert any("tmp" in name for name in checkpoints(tmp_path / "run")), "the save was complete"
    killed = begin(hang_at=7, hang=0.1, width=WIDTH)
    killed.wait_until_it_hangs()
    time.sleep(random.random() * 0.5)
    with contextlib.suppress(ProcessLookupError):  # On a fast machine the run may be over by then.
        killed.send(signal.SIGKILL)
    killed.handle.join()
    output = begin(width=WIDTH).end()
    whole.end()
    assert_same_run(tmp_path / "run", tmp_path / "whole", metrics_of)
    assert "goes on after step" in output
    # A kill between a save and the removal of what it replaces leaves one more.
    assert checkpoints(tmp_path / "run")[-2:] == ["6", "8"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drops_the_step_saves_the_boundary_and_exits_with_status_0(
    begin, tmp_path, metrics_of, number
):
    process = begin(hang_at=4, checkpoint_every=100)
    process.wait_until_it_hangs()
    sent = time.monotonic()
    process.send(number)
    output = process.end()
    assert time.monotonic() - sent < 30
    assert f"{number.name}: saved after step 3; start again to go on" in output
    assert checkpoints(tmp_path / "run") == ["3"]
    assert not (tmp_path / "run/final.npz").exists()
    begin(checkpoint_every=100).end()
    begin(workdir=str(tmp_path / "whole"), checkpoint_every=100).end()
    assert_same_run(tmp_path / "run", tmp_path / "whole", metrics_of)


def test_a_second_signal_ends_the_process_at_once_and_keeps_the_last_checkpoint(begin, tmp_path):
    process = begin(hang_at=6, checks=False)
    process.wait_until_it_hangs()
    process.send(signal.SIGTERM)
    time.sleep(0.2)
    assert process.handle.is_alive()
    process.send(signal.SIGTERM)
    output = process.end(128 + signal.SIGTERM)
    assert "SIGTERM again: ended at once; the last complete checkpoint is kept" in output
    assert "goes on after step 4" in begin().end()


def test_a_step_that_does_not_look_for_signals_is_ended_when_the_time_is_over(begin, tmp_path):
    process = begin(hang_at=6, checks=False, grace_seconds=0.5)
    process.wait_until_it_hangs()
    process.send(signal.SIGTERM)
    output = process.end(128 + signal.SIGTERM)
    assert "SIGTERM: not finished after 0.5 s; the last complete checkpoint is kept" in output
    assert checkpoints(tmp_path / "run") == ["2", "4"]


def test_two_processes_compute_save_stop_and_go_on_like_one(begin, tmp_path, metrics_of):
    """SIGTERM reaches one process only; the other stops at the same boundary; one process alone goes on."""
    begin(workdir=str(tmp_path / "whole")).end()
    coordinator = f"localhost:{free_port()}"
    hosts = [Hosts(coordinator, 2, number) for number in range(2)]
    one, other = (begin(hosts=host, hang_at=4, hang=1.0, checkpoint_every=3) for host in hosts)
    one.wait_until_it_hangs()
    other.send(signal.SIGTERM)
    assert "another process: saved after step 4" in one.end()
    assert other.end() == ""
    begin(devices=4, mesh="fsdp=4", checkpoint_every=3).end()
    for ours, theirs in zip(final(tmp_path / "run"), final(tmp_path / "whole"), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
