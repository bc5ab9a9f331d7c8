"""The frame around a job of scripted metrics: what it writes, what it refuses, when it stops."""

import fcntl
import json
import os
import pathlib
import signal

import jax.numpy as jnp
import numpy as np
import pytest

from vigorl_jax.runs import loop
from vigorl_jax.runs.clock import Clock
from vigorl_jax.runs.health import HealthSettings
from vigorl_jax.runs.interrupt import Interrupted, Interruption
from vigorl_jax.runs.loop import Frame, LoopSettings, RunError
from vigorl_jax.training.checkpoint import CheckpointError, Checkpoints, Snapshot


class Scripted:
    """A job whose step n returns the nth of the given metrics, or raises it."""

    headline = ("reward",)
    may_change = ("num_steps",)

    def __init__(self, *script, **config):
        self.config, self._script = {"seed": 0, **config}, script
        self.calls, self._state = [], None

    def template(self):
        return {"step": jnp.int32(0)}

    def start(self):
        self._state = {"step": jnp.int32(0)}

    def resume(self, snapshot):
        self._state = snapshot.state

    def snapshot(self):
        return Snapshot(int(self._state["step"]), self._state)

    def step(self, number, frame):
        self.calls.append(number)
        with frame.clock.phase("learn"):
            self._state = {"step": jnp.int32(number)}
        result = self._script[number - 1]
        if isinstance(result, Exception):
            raise result
        return result

    def finish(self, frame):
        self.calls.append("finish")


def settings(workdir: pathlib.Path, num_steps: int, **changes) -> LoopSettings:
    return LoopSettings(workdir=str(workdir), num_steps=num_steps, progress_seconds=0.0, **changes)


def kept(workdir: pathlib.Path) -> list[int]:
    return sorted(int(path.name) for path in (workdir / "checkpoints").iterdir())


def test_a_run_counts_from_1_and_finishes_once(tmp_path, capsys, metrics_of):
    job = Scripted({"reward": 0.25}, {"reward": 0.5, "tokens": 30}, note="x")
    assert loop.run(job, settings(tmp_path, 2)) == loop.Outcome(2)
    assert job.calls == [1, 2, "finish"]
    assert metrics_of(tmp_path) == [{"step": 1, "reward": 0.25}, {"step": 2, "reward": 0.5, "tokens": 30.0}]
    assert json.loads((tmp_path / "config.json").read_text()) == {"seed": 0, "note": "x"}
    assert kept(tmp_path) == [2]
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("step 1/2: reward 0.25 | ")
    assert "tokens/s" in lines[1]


def test_the_seconds_of_a_step_are_those_of_its_phases_and_give_the_rate(tmp_path):
    loop.run(Scripted({"tokens": 30}), settings(tmp_path, 1))
    line = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert 0 < line["time/learn"] <= line["time/step"]
    assert line["time/tokens_per_second"] == pytest.approx(30 / line["time/step"])
    assert line["memory/host_peak"] > 10_000_000


def test_a_run_goes_on_where_it_ended_and_a_finished_one_only_finishes(tmp_path, metrics_of):
    loop.run(Scripted({}, {}), settings(tmp_path, 2))
    longer = Scripted({}, {}, {"reward": 1})
    loop.run(longer, settings(tmp_path, 3))
    assert longer.calls == [3, "finish"]
    again = Scripted()
    assert loop.run(again, settings(tmp_path, 3)) == loop.Outcome(3)
    assert again.calls == ["finish"]
    assert metrics_of(tmp_path) == [{"step": 1}, {"step": 2}, {"step": 3, "reward": 1.0}]


def test_a_failing_job_leaves_its_last_checkpoint_and_its_log(tmp_path, metrics_of):
    with pytest.raises(ValueError, match="no such image"):
        loop.run(Scripted({}, {}, ValueError("no such image")), settings(tmp_path, 5, checkpoint_every=2))
    assert kept(tmp_path) == [2]
    assert [line["step"] for line in metrics_of(tmp_path)] == [1, 2]


def test_too_many_updates_that_are_not_finite_end_the_run_and_keep_the_checkpoint_before(
    tmp_path, metrics_of
):
    """Two in a row may be skipped; the checkpoints of steps 2 and 4 are due, but 4 lies among the skipped."""
    skips = [0, 0, 1, 2, 3]
    job = Scripted(*({"loss": float("nan") if n else 1.0, "consecutive_skipped": n} for n in skips))
    with pytest.raises(
        RunError,
        match=r"3 updates in a row were not finite \(steps 3 to 5\) and were skipped; checkpoint 2 is kept; look at",
    ):
        loop.run(job, settings(tmp_path, 9, checkpoint_every=2, max_skipped=2))
    assert kept(tmp_path) == [2]
    assert [line["loss"] for line in metrics_of(tmp_path)] == [1.0, 1.0, None, None, None]
    job = Scripted({"consecutive_skipped": 1})
    with pytest.raises(
        RunError, match=r"1 updates in a row .* \(steps 1 to 1\) .* there is no checkpoint yet"
    ):
        loop.run(job, settings(tmp_path / "new", 9, max_skipped=0))


def test_alarms_are_metrics_and_one_warning_and_a_run_that_goes_on_knows_the_steps_before(
    tmp_path, capsys, metrics_of
):
    """Zooms fall from 2 to 0; the window is 2 steps, the alarm begins at step 4, the second process at step 4."""
    script = [{"zooms_per_episode": zooms} for zooms in (2.0, 2.0, 0.0, 0.0, 0.0)]
    limits = HealthSettings(window=2)
    loop.run(Scripted(*script), settings(tmp_path, 3, health=limits))
    loop.run(Scripted(*script), settings(tmp_path, 5, health=limits))
    flags = [line.get("health/zooms_vanish") for line in metrics_of(tmp_path)]
    assert flags == [None, 0, 0, 1, 1]
    assert (
        capsys.readouterr().err.count("warning, step 4: zooms_vanish: zooms_per_episode is 0 over 2 steps")
        == 1
    )


def test_the_best_checkpoint_stays(tmp_path):
    script = [{"validation/reward": reward} for reward in (0.1, 0.9, 0.3, 0.2)]
    loop.run(
        Scripted(*script),
        settings(tmp_path, 4, checkpoint_every=1, keep_last=1, best_metric="validation/reward"),
    )
    assert kept(tmp_path) == [2, 4]


def test_a_work_directory_in_use_is_refused(tmp_path):
    with (tmp_path / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(
            RunError, match=r"is in use by another run; wait for its end or give another workdir"
        ):
            loop.run(Scripted({}), settings(tmp_path, 1))
    loop.run(Scripted({}), settings(tmp_path, 1))


def test_a_work_directory_of_another_configuration_is_refused_and_left_as_it_is(tmp_path):
    loop.run(Scripted({}), settings(tmp_path, 1))
    with pytest.raises(CheckpointError, match=r"belongs to another configuration: seed was 0, is 1"):
        loop.run(Scripted({}, {}, seed=1), settings(tmp_path, 2))
    assert json.loads((tmp_path / "config.json").read_text())["seed"] == 0


def test_a_job_that_does_not_count_its_steps_is_refused(tmp_path):
    job = Scripted({}, {})
    job.snapshot = lambda: Snapshot(0, {"step": jnp.int32(0)})
    with pytest.raises(RunError, match=r"the job's state is that of step 0 after step 1; count each step"):
        loop.run(job, settings(tmp_path, 2, checkpoint_every=1))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"workdir": ""}, r"workdir is empty; name the directory"),
        ({"num_steps": 0}, r"num_steps is 0; give a whole number.* at least 1"),
        ({"grace_seconds": 0.0}, r"grace_seconds is 0.0; give a number.* above 0"),
    ],
)
def test_settings_out_of_bounds_are_refused(changes, problem):
    with pytest.raises(ValueError, match=problem):
        LoopSettings(**{"workdir": "w", "num_steps": 1, **changes})


def test_a_step_can_be_given_up_only_before_its_update():
    stop = Interruption(grace_seconds=60.0)
    frame = Frame(Clock(), print, pathlib.Path(), stop)
    frame.boundary = Snapshot(0, {})
    frame.check()
    stop.received = "SIGTERM"
    with pytest.raises(Interrupted):
        frame.check()
    frame.begin_update()
    frame.check()
    frame.boundary = Snapshot(1, {})
    with pytest.raises(Interrupted):
        frame.check()


def test_a_signal_while_the_job_begins_saves_step_0(tmp_path, capsys):
    """The handlers of before come back."""
    before = signal.getsignal(signal.SIGTERM)
    job = Scripted({}, {})
    start = job.start
    job.start = lambda: (start(), os.kill(os.getpid(), signal.SIGTERM))
    assert loop.run(job, settings(tmp_path, 2)) == loop.Outcome(0, "SIGTERM")
    assert kept(tmp_path) == [0]
    assert "SIGTERM: saved after step 0; start again to go on" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == before
    assert loop.run(Scripted({}, {}), settings(tmp_path, 2)) == loop.Outcome(2)


def test_what_is_lost_in_the_newest_checkpoint_is_said_and_an_older_one_still_serves(tmp_path):
    """Damage is not passed over in silence: the user decides to go back."""
    loop.run(Scripted({}, {}), settings(tmp_path, 2, checkpoint_every=1))
    (tmp_path / "checkpoints/2/record/metadata").write_text("{")
    with pytest.raises(CheckpointError, match=r"cannot be read .* remove the damaged one and start again"):
        loop.run(Scripted({}, {}), settings(tmp_path, 2))
    (tmp_path / "checkpoints/2").rename(tmp_path / "damaged")
    job = Scripted({}, {})
    loop.run(job, settings(tmp_path, 2))
    assert job.calls == [2, "finish"]
    with Checkpoints(tmp_path / "checkpoints", job.config) as checkpoints:
        assert np.asarray(checkpoints.restore(job.template()).state["step"]) == 2
