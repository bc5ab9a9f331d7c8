"""Supervised stages of the tiny world: batches made ahead in a thread, one compiled update each."""

import collections
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from vigorl_jax.processing.settings import ImageSettings
from vigorl_jax.reasoning.episode import Episode
from vigorl_jax.training.batch import pack
from vigorl_jax.training.encoder import Encoder
from vigorl_jax.training.image_embeds import Images
from vigorl_jax.training.image_table import ImageTable, UnitTable
from vigorl_jax.training.learner import Learner
from vigorl_jax.training.state import TrainState

_AHEAD = 3
# Packed episodes fill a varying number of rows; rounded up to these, one compilation serves all batches.
_ROWS = 2

Made = TypeVar("Made")


@dataclasses.dataclass(frozen=True)
class Album:
    """Images that many lessons share, with what a frozen tower makes of them."""

    table: UnitTable
    images: Images

    @classmethod
    def of(
        cls, episodes: Sequence[Episode], learner: Learner, state: TrainState, settings: ImageSettings
    ) -> "Album":
        """The images of these episodes."""
        table = UnitTable(episodes, learner.config)
        return cls(table, Encoder(learner, settings)(state, table, table.units))


def teach(
    learner: Learner,
    state: TrainState,
    make: Callable[[int], Sequence[Episode]],
    settings: ImageSettings,
    *,
    steps: int,
    row_length: int,
    album: Album | None = None,
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
      album: where the images of all episodes are; None to encode those of each step.
      on_step: called with the number of steps so far and the metrics of the last.
    """

    def lesson(step: int):
        episodes = make(step)
        table = album.table if album else ImageTable(episodes, learner.config)
        (batch,) = pack(episodes, table, learner.config, length=row_length, row_multiple=_ROWS)
        return batch, album.images if album else table.patch_batch(settings)

    for step, (batch, images) in enumerate(made_ahead(lesson, steps), 1):
        state, metrics = learner.update(state, [batch], images)
        on_step(step, metrics)
    return state


def made_ahead(make: Callable[[int], Made], count: int) -> Iterator[Made]:
    """make(0) to make(count - 1), in order, made in a thread a few ahead of their use."""
    with ThreadPoolExecutor(1) as pool:
        waiting = collections.deque(pool.submit(make, step) for step in range(min(_AHEAD, count)))
        for step in range(_AHEAD, count + _AHEAD):
            made = waiting.popleft().result()
            if step < count:
                waiting.append(pool.submit(make, step))
            yield made
