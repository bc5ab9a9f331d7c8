"""What all jobs that learn have in common: the learner's state, validation, pages of episodes, the final model."""

import dataclasses
import functools
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import jax

from vigorl_jax.qwen25vl import weights
from vigorl_jax.qwen25vl.model import Params
from vigorl_jax.reasoning.episode import Episode
from vigorl_jax.report.page import write_report
from vigorl_jax.runs import fields, metrics_log
from vigorl_jax.runs.bad_records import BadRecords
from vigorl_jax.runs.data import ExampleSource
from vigorl_jax.runs.interrupt import Interrupted
from vigorl_jax.runs.lessons import Lessons
from vigorl_jax.runs.loop import SKIPPED, Frame
from vigorl_jax.runs.parts import Model
from vigorl_jax.runs.settings import Run
from vigorl_jax.runs.validation import SHOWN, Validator
from vigorl_jax.training import distributed
from vigorl_jax.training.checkpoint import Snapshot
from vigorl_jax.training.learner import Learner
from vigorl_jax.training.settled_shapes import SettledShapes
from vigorl_jax.training.state import TrainState

MODEL, PAGES = "model", "episodes"
# What may differ when a run goes on: where and how long it runs, on what, and what it says of itself. None of these
# changes what is computed, but for the rounding of another number of rows or devices.
MAY_CHANGE = (
    "workdir", "model", "data_dir", "num_steps", "num_epochs", "checkpoint_every", "keep_last", "keep_every",
    "best_metric", "validate_every", "report_every", "tensorboard", "wandb_project", "mesh", "slots", "micro_rows",
    "remat", "max_skipped", "grace_seconds", "stall_seconds", "stall_exit_seconds", "progress_seconds",
    "health_window", "zooms_fall_to", "max_zero_spread", "max_malformed_rise", "entropy_fall_to", "entropy_rise_to",
    "max_gap", "bad_max_share", "bad_window", "validation_datasets", "validation_split", "validation_size",
    "validation_samples", "validation_temperature", "validation_top_p", "validation_at_start",
)  # fmt: skip


class ModelJob:
    """The part of a `loop.Job` that does not depend on what a step is; `step` is left to those who inherit.

    Args:
      run: the settings.
      model: what it begins with.
      learner: the jitted updates.
      source: what it learns from.
      bad: counts the records that cannot be used.
      validator: None for no validation.
    """

    headline: Sequence[str] = ()
    may_change: Collection[str] = MAY_CHANGE

    def __init__(
        self,
        run: Run,
        model: Model,
        learner: Learner,
        source: ExampleSource,
        bad: BadRecords,
        validator: Validator | None,
    ):
        self.config: Mapping[str, Any] = json.loads(json.dumps(fields.values(run)))
        self.run, self.model, self.learner, self.source, self.bad = run, model, learner, source, bad
        self._validator = validator
        self._owed: int | None = None  # the step whose validation a signal has cut short
        self.shapes = SettledShapes()
        self._dtype = str(jax.tree.leaves(model.policy.params)[0].dtype)
        self.state: TrainState | None = None
        self.finished_steps = 0

    @functools.cached_property
    def lessons(self) -> Lessons:
        """Makes what an update takes."""
        return Lessons(self.learner, self.run.rows, self.model.policy.images)

    def template(self) -> TrainState:
        """See `loop.Job`; frozen parameters are those of the model and not part of a checkpoint."""
        return dataclasses.replace(self.learner.abstract_state(), frozen={})

    def start(self) -> None:
        """See `loop.Job`."""
        self.begin(self.learner.init(self.model.policy.params))

    def resume(self, snapshot: Snapshot) -> None:
        """See `loop.Job`."""
        first = self.learner.before_training(self.model.policy.params)
        self.begin(first)
        self.state = dataclasses.replace(snapshot.state, frozen=first.frozen)
        self.finished_steps = snapshot.step
        self.source.restore(snapshot.position)
        self.bad.restore(snapshot.counters["bad_records"])
        self.shapes.restore(snapshot.counters.get("shapes", ()))
        self._owed = snapshot.counters.get("validation_owed")

    def begin(self, first: TrainState) -> None:
        """Takes the state before the first update, and lets go of the parameters that it was made from."""
        self.state = first
        policy = dataclasses.replace(self.model.policy, params={})
        self.model = dataclasses.replace(self.model, policy=policy)

    def snapshot(self) -> Snapshot:
        """See `loop.Job`."""
        return Snapshot(
            step=self.finished_steps,
            state=dataclasses.replace(self.state, frozen={}),
            position=self.source.position,
            counters={
                "bad_records": self.bad.counters(),
                "shapes": self.shapes.counters,
                "validation_owed": self._owed,
            },
        )

    def finish(self, frame: Frame) -> None:
        """Writes the model directory, which transformers loads."""
        params = on_host(self.params)
        if distributed.is_main():
            directory = frame.workdir / MODEL
            weights.save(
                directory, self.learner.config, params, dtype=self._dtype, copy_from=self.model.directory
            )
            frame.say(f"the model is in {directory}")
        self._validate_owed(frame)

    @property
    def params(self) -> Params:
        """All parameters of the policy as it is now; the next update donates them."""
        return self.learner.params(self.state)

    def begin_metrics(self, number: int, frame: Frame) -> dict[str, float]:
        """The validation of the untrained policy, in the first step's metrics under "before_validation/".

        One that a signal has cut short is made first; its metrics join the line of its own step.
        """
        self._validate_owed(frame)
        if number != 1 or not self.run.validation.at_start:
            return {}
        with frame.clock.phase("validate"):
            metrics = self.validation_metrics(0, frame, frame.check)
        return {f"before_{name}": value for name, value in metrics.items()}

    def end_metrics(self, number: int, num_steps: int, frame: Frame) -> dict[str, float]:
        """Counts, and the validation where it is due; left to the run that goes on where a signal asks for the end."""
        metrics = {
            SKIPPED: int(self.state.consecutive_skipped),
            "skipped": int(self.state.skipped),
            "bad_records": self.bad.bad,
        }
        every = self.run.validate_every
        if number != num_steps and (every is None or number % every):
            return metrics

        def check() -> None:
            if frame.stopping:
                raise Interrupted

        with frame.clock.phase("validate"):
            try:
                metrics |= self.validation_metrics(number, frame, check)
            except Interrupted:
                self._owed = number
                frame.say("the validation waits until the run goes on")
        return metrics

    def _validate_owed(self, frame: Frame) -> None:
        if self._owed is None:
            return
        with frame.clock.phase("validate"):
            metrics = self.validation_metrics(self._owed, frame, frame.check)
        if distributed.is_main():
            metrics_log.amend(frame.workdir / metrics_log.FILE_NAME, self._owed, metrics)
        self._owed = None

    def validation_metrics(self, number: int, frame: Frame, check: Callable[[], None]) -> dict[str, float]:
        """Metrics of the policy as it is now, after `number` steps, and a page; `check` may raise to give up."""
        if self._validator is None:
            return {}
        metrics, shown = self._validator(self.params, number, check)
        self.write_page(shown, f"validation_{number:06d}", frame)
        return metrics

    def write_page(self, episodes: Sequence[Episode], name: str, frame: Frame) -> None:
        """Some episodes for a reader, as one HTML file in the work directory."""
        if not distributed.is_main():
            return
        with frame.clock.phase("report"):
            path = frame.workdir / PAGES / f"{name}.html"
            title = name.replace("_", " ").strip()
            write_report(list(episodes)[:SHOWN], path, title=title, settings=self.model.policy.images)


def on_host(tree: Any) -> Any:
    """Arrays of any sharding as arrays that this process has all of; every process must call it."""
    if jax.process_count() == 1:
        return tree
    from jax.experimental import multihost_utils

    return multihost_utils.process_allgather(tree, tiled=True)
