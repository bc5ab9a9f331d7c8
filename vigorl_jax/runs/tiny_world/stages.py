"""Supervised stages of one seed, with their progress and their time."""

import itertools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

from vigorl_jax.qwen25vl.model import Params
from vigorl_jax.reasoning.prompts import Condition
from vigorl_jax.runs.progress import Progress, say, titled
from vigorl_jax.runs.tiny_world import recipe as recipes
from vigorl_jax.runs.tiny_world.recipe import Imitation, OnStep, Recipe


def perceive(recipe: Recipe, seed: int) -> Params:
    """Parameters that have learned to point and to read; see `recipe.perceive`."""
    params, _ = _timed("perception", recipe.perception, lambda on: recipes.perceive(recipe, seed, on))
    return params


def imitate(
    recipe: Recipe,
    seed: int,
    name: str,
    params: Params,
    *conditions: Condition,
    stages: Sequence[Imitation] | None = None,
    first: int = 0,
) -> tuple[Params, float]:
    """Parameters that have imitated the teacher (see `recipe.imitate`), and seconds without compilation."""
    stages = stages or recipe.imitation
    return _timed(
        f"{name}: imitation",
        sum(stage.steps for stage in stages),
        lambda on: recipes.imitate(
            recipe, params, seed, on, stages=stages, conditions=conditions, first=first
        ),
    )


def _timed(title: str, steps: int, work: Callable[[OnStep], Params]) -> tuple[Params, float]:
    with titled(title):
        say(f"{steps} steps")
        progress = Progress(steps, 0, ("loss",))
        times: list[float] = []

        def on_step(step: int, metrics: Mapping[str, float]) -> None:
            times.append(time.monotonic())
            progress.step(step, metrics)

        params = work(on_step)
        progress.close()
    # At the rate of most steps: the first ones compile.
    return params, statistics.median(b - a for a, b in itertools.pairwise(times)) * steps
