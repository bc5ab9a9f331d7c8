"""Supervised stages of the tiny world: batches made ahead in a thread, one compiled update each."""

import collections
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from vigorl_jax.processing.settings import ImageSettings
from vigorl_jax.qwen25vl.config import Config
from vigorl_jax.qwen25vl.vision import PatchBatch
from vigorl_jax.reasoning.episode import Episode
from vigorl_jax.training.batch import Batch, ImageTable, pack
from vigorl_jax.training.learner import Learner
from vigorl_jax.training.state import TrainState

_AHEAD = 3
# Packed episodes fill a varying number of rows; rounded up to these, one compilation serves all batches.
_ROWS = 4

Lesson = tuple[Batch, PatchBatch]


def teach(
    learner: Learner,
    state: TrainState,
    make: Callable[[int], Sequence[Episode]],
    settings: ImageSettings,
    *,
    steps: int,
    row_length: int,
    first: int = 0,
    on_step: Callable[[int, Mapping[str, float]], None] = lambda step, metrics: None,
) -> TrainState:
    """Learns the episodes of `make(0)`, `make(1)`, ...: an update each.

    Args:
      learner: without an objective.
      state: donated.
      make: episodes of a step; called in a thread.
      settings: of the model's images.
      steps: how many.
      row_length: tokens of a row into which episodes are packed.
      first: number of steps before these, for `on_step`.
      on_step: called with the number of steps so far and the metrics of the last.
    """
    lessons = _ahead(lambda step: _lesson(make(step), learner.config, settings, row_length), steps)
    for step, (batch, images) in enumerate(lessons, first + 1):
        state, metrics = learner.update(state, [batch], images)
        on_step(step, metrics)
    return state


def _lesson(episodes: Sequence[Episode], config: Config, settings: ImageSettings, row_length: int) -> Lesson:
    table = ImageTable(episodes, config)
    (batch,) = pack(episodes, table, config, length=row_length, row_multiple=_ROWS)
    return batch, table.patch_batch(settings)


def _ahead(make: Callable[[int], Lesson], count: int) -> Iterator[Lesson]:
    with ThreadPoolExecutor(1) as pool:
        waiting = collections.deque(pool.submit(make, step) for step in range(min(_AHEAD, count)))
        for step in range(_AHEAD, count + _AHEAD):
            lesson = waiting.popleft().result()
            if step < count:
                waiting.append(pool.submit(make, step))
            yield lesson
