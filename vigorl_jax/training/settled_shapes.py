"""Shapes of updates that a run has compiled, so that a step a little smaller uses one of them again."""

from collections.abc import Sequence
from typing import Any

from vigorl_jax.buckets import bucket
from vigorl_jax.training.batch import BatchShape

# How much longer rows may be than a step needs, and how many more targets: what padding costs in an update that takes
# seconds, against a compilation that takes minutes.
MOST_LENGTH, MOST_TARGETS = 1.25, 1.5


class SettledShapes:
    """The shapes so far. A resumed run needs them: sums over other numbers of padded tokens round differently."""

    def __init__(self):
        self._known: list[tuple[BatchShape, int]] = []

    def settle(self, wanted: BatchShape, units: int) -> tuple[BatchShape, int]:
        """The shape to use for a batch and the units of its images: the nearest that is known, or a new one.

        After rows of 64 tokens with 40 units come rows of 56 with 30: they too take 64 and 40, but rows of 40 do not.
        """
        fitting = [
            (shape, size)
            for shape, size in self._known
            if size >= units
            and all(has >= wants for has, wants in zip(shape, wanted, strict=True))
            and shape.length <= MOST_LENGTH * wanted.length
            and shape.targets <= MOST_TARGETS * wanted.targets
        ]
        if not fitting:
            # Room for images and for numbers of episodes costs next to nothing: these only grow, and begin at a quarter
            # more and at twice what is wanted.
            episodes = max([2 * wanted.row_episodes, *(shape.row_episodes for shape, _ in self._known)])
            size = max([bucket(units + units // 4), *(size for _, size in self._known)])
            fitting = [(wanted._replace(row_episodes=episodes), size)]
            self._known += fitting
        return min(fitting)

    @property
    def counters(self) -> list[list[int]]:
        """What a checkpoint keeps, as JSON."""
        return [[*shape, size] for shape, size in self._known]

    def restore(self, counters: Sequence[Sequence[Any]]) -> None:
        """Goes on from `counters`."""
        self._known = [(BatchShape(*shape), size) for *shape, size in counters]
