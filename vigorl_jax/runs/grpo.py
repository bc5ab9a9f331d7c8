"""The job of group-relative policy gradients: roll out, reward, compare within groups, learn."""

import concurrent.futures
import dataclasses
import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vigorl_jax.reasoning.episode import Episode
from vigorl_jax.runs import episode_bytes, rollouts, scoring
from vigorl_jax.runs.job import ModelJob
from vigorl_jax.runs.loop import Frame
from vigorl_jax.runs.rating import Rating
from vigorl_jax.runs.rollouts import Groups, Roller
from vigorl_jax.runs.settings import GrpoRun
from vigorl_jax.sampling.scheduler import EpisodeSampler
from vigorl_jax.sampling.seen_images import SeenImages
from vigorl_jax.tasks.example import Example
from vigorl_jax.training.advantages import Rated
from vigorl_jax.training.batch import Batch, Values
from vigorl_jax.training.checkpoint import Snapshot
from vigorl_jax.training.image_embeds import Images
from vigorl_jax.training.reference import Reference
from vigorl_jax.training.state import TrainState

_AHEAD = "ahead"
# Groups on a page for a reader.
_SHOWN_GROUPS = 4


@dataclasses.dataclass(frozen=True)
class Rolled:
    """What was rolled out for a step.

    Attributes:
      groups: what is learned from.
      metrics: of all that was rolled out.
      seen: embeddings of its images, made with the parameters that learn from it.
    """

    groups: Groups
    metrics: Mapping[str, float]
    seen: SeenImages | None = None


@dataclasses.dataclass(frozen=True)
class Lesson:
    """The micro-batches of one update, their images, and log-probs under other policies where these are wanted."""

    batches: Sequence[Batch]
    images: Images
    old: Sequence[Values] | None = None
    reference: Sequence[Values] | None = None


class GrpoJob(ModelJob):
    """Steps of a `GrpoRun`; see `loop.Job`.

    With `overlap` the episodes of the next step are rolled out, by the parameters before the update, while a step
    learns. They are part of the checkpoint: a run that goes on learns from the very same.

    Args:
      run: the settings.
      roller: rolls out and scores.
      rating: what is learned from which episodes.
      common: the arguments of `ModelJob` behind the settings.
    """

    headline = ("reward/overall", "reward/accuracy", "loss", "entropy", "zooms_per_episode")

    def __init__(self, run: GrpoRun, roller: Roller, rating: Rating, *common: Any):
        super().__init__(run, *common)
        self._roller, self._rating = roller, rating
        self._reference: Reference | None = None
        self._ahead: Rolled | None = None
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="roll ahead")

    def begin(self, first: TrainState) -> None:
        """See `ModelJob`; the state before the first update is the reference."""
        super().begin(first)
        if self.run.objective.kl_coefficient > 0:
            place = "host" if self.run.reference == "host" else "device"
            self._reference = Reference(self.learner, first, place=place)

    def resume(self, snapshot: Snapshot) -> None:
        """See `loop.Job`."""
        super().resume(snapshot)
        if snapshot.buffer:
            groups = episode_bytes.from_bytes(snapshot.buffer[_AHEAD].tobytes(), self.model.policy.images)
            self._ahead = Rolled(groups, snapshot.counters[_AHEAD])

    def snapshot(self) -> Snapshot:
        """See `loop.Job`."""
        snapshot = super().snapshot()
        if self._ahead is None:
            return snapshot
        return dataclasses.replace(
            snapshot,
            counters={**snapshot.counters, _AHEAD: dict(self._ahead.metrics)},
            buffer=_EpisodeBuffer(self._ahead.groups),
        )

    def step(self, number: int, frame: Frame) -> dict[str, float]:
        """See `loop.Job`."""
        metrics = self.begin_metrics(number, frame)
        rolled = self._ahead or self._roll(number, frame)
        self._ahead = None
        metrics |= rolled.metrics
        if self.run.report_every is not None and number % self.run.report_every == 0:
            shown = [episode for group in rolled.groups[:_SHOWN_GROUPS] for episode in group]
            self.write_page(shown, f"step_{number:06d}", frame)
        if self.run.overlap and number < self.run.num_steps:
            metrics |= self._learn_while_rolling(number, rolled.groups, frame)
        else:
            metrics |= self._learn(rolled.groups, frame, rolled.seen)
        self.finished_steps = number
        return {**metrics, **self.end_metrics(number, self.run.num_steps, frame)}

    def _roll(self, number: int, frame: Frame) -> Rolled:
        with frame.clock.phase("data"):
            examples = self.source.take(self.run.sampling.examples_per_step)
        with frame.clock.phase("roll out"):
            seen = SeenImages() if self._keeps_seen else None
            sampler = self._roller.open(self.params, seen)
            first = self._roll_share(sampler, examples, number, frame)
        return dataclasses.replace(self._completed(sampler, first, number, frame), seen=seen)

    @property
    def _keeps_seen(self) -> bool:
        """Whether the learner takes over the sampler's embeddings: it would compute the same.

        Not on several processes, of which each has seen its own share alone, and not with `overlap`: a run that goes
        on from a checkpoint has the episodes, but not what the sampler made of their images.
        """
        return self.learner.encodes_wholly and not self.run.overlap and jax.process_count() == 1

    def _learn_while_rolling(self, number: int, groups: Groups, frame: Frame) -> dict[str, float]:
        with frame.clock.phase("data"):
            examples = self.source.take(self.run.sampling.examples_per_step)
        with frame.clock.phase("roll out"):
            # The update donates the parameters: sampling beside it needs a copy.
            sampler = self._roller.open(jax.tree.map(jnp.copy, self.params))
        began = time.monotonic()
        rolling = self._thread.submit(self._roll_share, sampler, examples, number + 1, None)
        metrics = self._learn(groups, frame)
        learned = time.monotonic()
        with frame.clock.phase("roll out"):
            first = rolling.result()
        self._ahead = self._completed(sampler, first, number + 1, frame)
        return {**metrics, "time/learning_beside_rolling": learned - began}

    def _roll_share(
        self, sampler: EpisodeSampler, examples: Sequence[Example], number: int, frame: Frame | None
    ) -> Groups:
        sampling = self.run.sampling
        return self._roller.roll(
            sampler,
            examples,
            step=number,
            group_size=sampling.group_size,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            on_turn=_nothing if frame is None else frame.check,
        )

    def _completed(self, sampler: EpisodeSampler, first: Groups, number: int, frame: Frame) -> Rolled:
        """Scores what was rolled out; with dynamic sampling, rolls out more until enough groups have a spread."""
        wanted, settings = self.run.sampling.examples_per_step, self.run.advantages
        with frame.clock.phase("reward"):
            rolled = self._roller.score(first)
        kept = self._kept(rolled)
        for _ in range(settings.max_extra_rolls if settings.dynamic_sampling else 0):
            missing = wanted - len(kept)
            if missing <= 0:
                break
            with frame.clock.phase("roll out"):
                examples = self.source.take(missing + -missing % jax.process_count())
                more = self._roll_share(sampler, examples, number, frame)
            with frame.clock.phase("reward"):
                more = self._roller.score(more)
            rolled, kept = rolled + more, kept + self._kept(more)
        episodes = [episode for group in rolled for episode in group]
        spread = sum(self._rating.has_spread(group) for group in rolled)
        metrics = {
            **rollouts.metrics(rolled),
            **scoring.metrics(episodes),
            "zero_spread_share": 1 - spread / len(rolled),
            "groups_rolled": len(rolled),
        }
        return Rolled(kept[:wanted], metrics)

    def _kept(self, groups: Groups) -> Groups:
        if not self.run.advantages.dynamic_sampling:
            return groups
        return [group for group in groups if self._rating.has_spread(group)]

    def _learn(self, groups: Groups, frame: Frame, seen: SeenImages | None = None) -> dict[str, float]:
        with frame.clock.phase("prepare"):
            parts = [self._rating(part) for part in _parts(groups, self.run.updates_per_step)]
            lessons = [self._lesson(part, frame, seen) for part in parts if part]
        learned_from = sum(len(part) for part in parts)
        with frame.clock.phase("learn"):
            frame.begin_update()
            logged = list(self._updates(lessons))
        metrics = {name: float(np.mean([one[name] for one in logged])) for name in (logged or [{}])[0]}
        metrics |= {"learning_rate": logged[-1]["learning_rate"]} if logged else {}
        return {**metrics, "updates": len(logged), "episodes_learned": learned_from}

    def _lesson(self, rated: Sequence[Rated], frame: Frame, seen: SeenImages | None) -> Lesson:
        episodes, advantages = zip(*((one.episode, one.advantage) for one in rated), strict=True)
        batches, images = self.lessons(self.state, episodes, self.shapes, advantages=advantages, known=seen)
        old = reference = None
        if self.run.updates_per_step * self.run.epochs_per_step > 1:
            scores = self.learner.score(self.state, batches, images)
            old = [score.log_probs for score in scores]
        if self._reference is not None:
            with frame.clock.phase("reference"):
                reference = self._reference.score(batches, images)
        return Lesson(batches, images, old, reference)

    def _updates(self, lessons: Sequence[Lesson]) -> Iterator[dict[str, float]]:
        for _ in range(self.run.epochs_per_step):
            for lesson in lessons:
                self.state, metrics = self.learner.update(
                    self.state, lesson.batches, lesson.images, old=lesson.old, reference=lesson.reference
                )
                yield metrics


class _EpisodeBuffer(Mapping[str, np.ndarray]):
    """The episodes rolled out ahead as an array of a checkpoint, made only when one is written."""

    def __init__(self, groups: Groups):
        self._groups = groups

    def __getitem__(self, name: str) -> np.ndarray:
        if name != _AHEAD:
            raise KeyError(name)
        return np.frombuffer(episode_bytes.to_bytes(self._groups), np.uint8)

    def __iter__(self) -> Iterator[str]:
        return iter((_AHEAD,))

    def __len__(self) -> int:
        return 1


def _parts(groups: Groups, count: int) -> list[Sequence[Sequence[Episode]]]:
    """Runs of groups, as equal as can be: 5 in 2 are 3 and 2."""
    bounds = np.linspace(0, len(groups), count + 1).round().astype(int)
    return [groups[low:high] for low, high in itertools.pairwise(bounds)]


def _nothing() -> None:
    """Does nothing."""
