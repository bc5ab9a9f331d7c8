"""The frame of a run: steps, checkpoints, signals, logs, alarms. Knows nothing of what a step computes."""

import contextlib
import dataclasses
import fcntl
import json
import pathlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

import jax

from vigorl_jax.runs import health, memory, metrics_log
from vigorl_jax.runs.clock import Clock
from vigorl_jax.runs.fields import check, number
from vigorl_jax.runs.health import Health, HealthSettings
from vigorl_jax.runs.interrupt import Interrupted, Interruption
from vigorl_jax.runs.progress import Progress, Silence
from vigorl_jax.runs.watchdog import Watchdog
from vigorl_jax.training import distributed
from vigorl_jax.training.checkpoint import Checkpoints, Retention, Snapshot

CHECKPOINTS, CONFIG = "checkpoints", "config.json"
# Metrics with a meaning for the frame: updates skipped in a row, and tokens of a step.
SKIPPED, TOKENS = "consecutive_skipped", "tokens"


class RunError(ValueError):
    """A run that cannot begin, or must not go on."""


@dataclasses.dataclass(frozen=True)
class LoopSettings:
    """The frame's settings; none of them changes what a step computes.

    Attributes:
      workdir: where everything is written, and from where the run goes on.
      num_steps: steps of the whole run, those of earlier processes included.
      checkpoint_every: steps between checkpoints; the last step always has one.
      keep_last: how many of the newest checkpoints stay.
      keep_every: checkpoints whose step it divides stay too; 0: none.
      best_metric: the checkpoint with the highest value of this metric stays too, or the lowest with "-" before the
        name; "": none.
      grace_seconds: after SIGTERM or SIGINT the run ends within this time, or is ended.
      max_skipped: so many updates in a row may be skipped for numbers that are not finite; one more ends the run.
      stall_seconds: a phase that lasts longer is reported, with stacks.
      stall_exit_seconds: a phase that lasts so long ends the process; 0: never.
      progress_seconds: time between progress lines where there is no terminal.
      tensorboard: write TensorBoard events.
      wandb_project: send the metrics there too; "": nowhere.
      health: thresholds of the alarms.
    """

    workdir: str
    num_steps: int = number(least=1)
    checkpoint_every: int = number(50, least=1)
    keep_last: int = number(2, least=1)
    keep_every: int = number(0, least=0)
    best_metric: str = ""
    grace_seconds: float = number(120.0, above=0)
    max_skipped: int = number(5, least=0)
    stall_seconds: float = number(900.0, above=0)
    stall_exit_seconds: float = number(0.0, least=0)
    progress_seconds: float = number(10.0, least=0)
    tensorboard: bool = True
    wandb_project: str = ""
    health: HealthSettings = dataclasses.field(default_factory=HealthSettings)

    def __post_init__(self) -> None:
        """Refuses values out of bounds."""
        check(self)
        if not self.workdir:
            raise RunError("workdir is empty; name the directory that the run writes and goes on from")


class Frame:
    """What the loop offers to a job during a step.

    Attributes:
      clock: `with frame.clock.phase("roll out"):` counts time to a phase.
      say: shows one line to the user (process 0).
      workdir: where the job may write its own files; process 0 only.
      boundary: the state between two steps, until the update begins; for the loop.
    """

    def __init__(self, clock: Clock, say: Callable[[str], None], workdir: pathlib.Path, stop: Interruption):
        self.clock, self.say, self.workdir = clock, say, workdir
        self.boundary: Snapshot | None = None
        self._stop = stop

    def check(self) -> None:
        """Gives the step up where a signal asks for it; call it often in long phases before the update.

        Does nothing once the update has begun, and nothing with several processes: they can only stop together, at
        a step boundary.

        Raises:
          Interrupted: let it pass; the loop saves the state of the last step boundary.
        """
        if self._stop.received and self.boundary is not None and jax.process_count() == 1:
            raise Interrupted

    @property
    def stopping(self) -> bool:
        """Whether a signal asks for the end: work behind the update that is not part of the state may be left out.

        Never with several processes, as for `check`.
        """
        return bool(self._stop.received) and jax.process_count() == 1

    def begin_update(self) -> None:
        """Call it before the state is donated: from here on the step is finished, whatever signals come."""
        self.boundary = None


class Job(Protocol):
    """What runs in the frame. Steps are numbered from 1; the state of number n is that after step n.

    Attributes:
      config: the whole configuration, of JSON values, nested; kept in `config.json` and in each checkpoint.
      may_change: dotted names of its fields that may differ when a run goes on.
      headline: metrics to show in the progress line.
    """

    config: Mapping[str, Any]
    may_change: Collection[str]
    headline: Sequence[str]

    def template(self) -> Any:
        """A pytree like the state, of arrays or `jax.ShapeDtypeStruct` with shardings; cheap where it can be."""

    def start(self) -> None:
        """Makes the state of step 0. Called where there is no checkpoint."""

    def resume(self, snapshot: Snapshot) -> None:
        """Goes on from a checkpoint. Called instead of `start`."""

    def snapshot(self) -> Snapshot:
        """The present state, at a step boundary, by reference: called before every step, so it must cost nothing.

        Costly parts of the buffer may wait behind a mapping that makes them when a checkpoint is written.
        """

    def step(self, number: int, frame: Frame) -> Mapping[str, float]:
        """Makes one step. Calls `frame.check` in long phases, and `frame.begin_update` before it donates its state.

        Returns:
          Metrics, finite or not. "consecutive_skipped" and "tokens" mean something to the frame.
        """

    def finish(self, frame: Frame) -> None:
        """Writes what the run leaves, such as a model directory. Called after the last step's checkpoint, and once
        more when a finished run is started again."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How `run` ended: steps finished in all, and the signal that stopped it ("" where the run is complete)."""

    step: int
    signal: str = ""


def run(job: Job, settings: LoopSettings) -> Outcome:
    """Runs a job to its last step, from the newest checkpoint in the work directory where there is one.

    A first SIGTERM or SIGINT saves the state at the last step boundary and returns; a second one ends the process.
    Call it in the main thread, in every process.

    Raises:
      RunError: another process uses the work directory, or too many updates in a row were not finite.
      CheckpointError: the checkpoint belongs to another configuration, or cannot be read or written.
      Whatever the job raises; the last complete checkpoint is then kept, and logs are closed.
    """
    workdir = pathlib.Path(settings.workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        if distributed.is_main():
            stack.enter_context(_held(workdir))
        stop = stack.enter_context(Interruption(settings.grace_seconds))
        checkpoints = stack.enter_context(
            Checkpoints(
                workdir / CHECKPOINTS,
                job.config,
                may_change=job.may_change,
                retention=Retention(settings.keep_last, settings.keep_every, settings.best_metric),
            )
        )
        return _Run(job, settings, checkpoints, stop, stack).go()


class _Run:
    """One process's part of a run: restores, then steps until the end or a signal."""

    def __init__(
        self,
        job: Job,
        settings: LoopSettings,
        checkpoints: Checkpoints,
        stop: Interruption,
        stack: contextlib.ExitStack,
    ):
        self._job, self._settings, self._checkpoints, self._stop = job, settings, checkpoints, stop
        workdir = pathlib.Path(settings.workdir)
        self._clock = Clock()
        self._restored = checkpoints.restore(job.template())
        self._step = self._restored.step if self._restored else 0
        self._health = Health(health.rules(settings.health), settings.health.window)
        self._logs: list[metrics_log.Log] = []
        self._progress = Silence()
        self._saved = self._step if self._restored else -1
        if distributed.is_main():
            self._open_reports(workdir, stack)
        self._frame = Frame(self._clock, self._progress.say, workdir, stop)
        stack.enter_context(
            Watchdog(
                self._clock,
                settings.stall_seconds,
                workdir,
                self._progress.say,
                exit_seconds=settings.stall_exit_seconds,
            )
        )

    def go(self) -> Outcome:
        """Steps until the last one or a signal."""
        with self._clock.phase("start"):
            if self._restored is None:
                self._job.start()
            else:
                self._progress.say(f"goes on after step {self._step}")
                self._job.resume(self._restored)
        self._restored = None
        self._clock.lap()
        while self._step < self._settings.num_steps:
            # The frame alone holds the old state, and lets go of it when the update begins.
            self._frame.boundary = self._job.snapshot()
            if distributed.any_process(bool(self._stop.received)):
                return self._stopped()
            try:
                metrics = self._job.step(self._step + 1, self._frame)
            except Interrupted:
                return self._stopped()
            self._finish_step(metrics)
        with self._clock.phase("save"):
            self._checkpoints.wait()
        with self._clock.phase("finish"):
            self._job.finish(self._frame)
        return Outcome(self._step)

    def _open_reports(self, workdir: pathlib.Path, stack: contextlib.ExitStack) -> None:
        job, settings = self._job, self._settings
        _write_json(workdir / CONFIG, job.config)
        self._logs.append(metrics_log.JsonLines(workdir, self._step))
        if settings.tensorboard:
            self._logs.append(metrics_log.TensorBoard(workdir, self._step))
        if settings.wandb_project:
            self._logs.append(metrics_log.WeightsAndBiases(workdir, settings.wandb_project, job.config))
        self._progress = Progress(
            settings.num_steps, self._step, job.headline, every_seconds=settings.progress_seconds
        )
        for line in metrics_log.read(workdir / metrics_log.FILE_NAME):
            self._health.observe(line)
        for closed in (*self._logs, self._progress):
            stack.callback(closed.close)

    def _finish_step(self, metrics: Mapping[str, float]) -> None:
        self._step += 1
        self._report({name: float(value) for name, value in metrics.items()})
        skipped = metrics.get(SKIPPED, 0)
        if skipped > self._settings.max_skipped:
            raise self._not_finite(int(skipped))
        # While updates are skipped the older checkpoints are the good ones, and stay.
        due = self._step % self._settings.checkpoint_every == 0 and not skipped
        if due or self._step == self._settings.num_steps:
            self._save(metrics)

    def _report(self, metrics: dict[str, float]) -> None:
        flags, warnings = self._health.observe(metrics)
        seconds = self._clock.lap()
        times = {f"time/{name}": value for name, value in seconds.items()}
        if TOKENS in metrics and seconds["step"] > 0:
            times["time/tokens_per_second"] = metrics[TOKENS] / seconds["step"]
        line = {**metrics, **flags, **times, **memory.usage()}
        for log in self._logs:
            log.write(self._step, line)
        self._progress.step(self._step, line)
        for warning in warnings:
            self._progress.say(f"warning, step {self._step}: {warning}")

    def _save(self, metrics: Mapping[str, float]) -> None:
        snapshot = self._job.snapshot()
        if snapshot.step != self._step:
            raise RunError(
                f"the job's state is that of step {snapshot.step} after step {self._step}; count each step"
            )
        with self._clock.phase("save"):
            self._checkpoints.save(snapshot, metrics)
        self._saved = self._step

    def _stopped(self) -> Outcome:
        with self._clock.phase("save"):
            if self._step != self._saved:
                self._checkpoints.save(self._frame.boundary)
            self._checkpoints.wait()
        signal = self._stop.received or "another process"
        self._progress.say(f"{signal}: saved after step {self._step}; start again to go on")
        return Outcome(self._step, signal)

    def _not_finite(self, skipped: int) -> RunError:
        first = self._step - skipped + 1
        kept = f"checkpoint {self._saved} is kept" if self._saved >= 0 else "there is no checkpoint yet"
        return RunError(
            f"{skipped} updates in a row were not finite (steps {first} to {self._step}) and were skipped; {kept}; "
            "look at the loss before, lower the learning rate, or allow more with max_skipped"
        )


@contextlib.contextmanager
def _held(workdir: pathlib.Path):
    """Keeps other processes out of the work directory; the system lets go when this one ends, however it ends."""
    with (workdir / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunError(
                f"{workdir} is in use by another run; wait for its end or give another workdir"
            ) from error
        yield


def _write_json(path: pathlib.Path, value: Any) -> None:
    pending = path.with_suffix(".pending")
    pending.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    pending.replace(path)
