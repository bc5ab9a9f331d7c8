"""From nothing to a model that looks where it must, on a laptop's CPU: the paper's claim with its controls.

  python -m experiments.quickstart            # everything
  python -m experiments.quickstart --fast     # the main contrast alone

A tiny Qwen2.5-VL learns to see, imitates a scripted teacher who points with a bias, and learns by GRPO to zoom where
the answer is; the second level, with more and look-alike signs, begins with the model that comes with the package.
Shows a table; writes results.json, curves.png and report.html (episodes before and after, for a browser) to the work
directory.
"""

import collections
import contextlib
import dataclasses
import functools
import os
import pathlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence

import jax
from absl import flags

from experiments.launch import launch
from experiments.presets import catalog
from vigorl_jax.runs import fields
from vigorl_jax.runs.compiled import compile_fast, keep_compiled
from vigorl_jax.runs.side_by_side import Here, Processes, Workers
from vigorl_jax.runs.tiny_world import comparison, outcome, shipped
from vigorl_jax.runs.tiny_world.arms import Setting
from vigorl_jax.runs.tiny_world.comparison import Comparison, Going
from vigorl_jax.runs.tiny_world.recipe import Recipe

_WORKDIR = flags.DEFINE_string("workdir", "quickstart", "Folder for models, logs, results and the report.")
_SEED = flags.DEFINE_integer("seed", 0, "Of weights, scenes and draws.", lower_bound=0)
_SEEDS = flags.DEFINE_integer("seeds", 1, "So many seeds from --seed on, and their means.", lower_bound=1)
_FAST = flags.DEFINE_bool("fast", False, "The main contrast alone: SFT, GRPO with zooms, GRPO without.")
_STEPS = flags.DEFINE_integer("grpo_steps", 60, "Steps of reinforcement.", lower_bound=1)
_EXAMPLES = flags.DEFINE_integer("examples", 256, "Of each examination.", lower_bound=1)
_JOBS = flags.DEFINE_integer(
    "jobs", None, "Models trained at a time, each in its own process; 2 on CPUs, 1 on an accelerator.", lower_bound=1
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class _Level:
    """What is compared on a level, and how a seed of it begins."""

    title: str
    recipe: Recipe
    workdir: pathlib.Path
    begin: Callable[[Setting, Workers], Going]


def main() -> None:
    """Runs all levels and seeds, shows tables and writes the files."""
    workdir = pathlib.Path(_WORKDIR.value)
    levels = [_Level("First level, from random weights", Recipe(), workdir, _from_nothing)]
    if not _FAST.value:
        folder = workdir / "second_level"
        title = "Second level, from the shipped warm start"
        levels.append(_Level(title, shipped.RECIPE, folder, _from_warm_start))
    for level in levels:
        level.workdir.mkdir(parents=True, exist_ok=True)
    compile_fast()
    seeds = range(_SEED.value, _SEED.value + _SEEDS.value)
    with _workers(workdir / "compiled") as workers:
        runs = [(level, seed) for level in levels for seed in seeds]
        begins = (functools.partial(_begin, level, seed, workers) for level, seed in runs)
        found: dict[str, list[Comparison]] = {level.title: [] for level in levels}
        for (level, seed), one in zip(runs, _one_ahead(begins), strict=True):
            found[level.title].append(one)
            outcome.write(found[level.title], level.workdir, level.recipe)
            if seed == seeds[-1]:
                _show(level, found[level.title])


def _one_ahead(begins: Iterable[Callable[[], Going]]) -> Iterator[Comparison]:
    """Results in order, where the next comparison begins while the last arms of one are being made."""
    going: collections.deque[Going] = collections.deque()
    for begin in begins:
        going.append(begin())
        if len(going) > 1 or going[0].done():
            yield going.popleft().result()
    yield from (one.result() for one in going)


def _begin(level: _Level, seed: int, workers: Workers) -> Going:
    preset = catalog.find(catalog.GRPO, "glyph_search_tiny").settings
    run = fields.replace(preset, {**comparison.RUN, "num_steps": _STEPS.value})
    return level.begin(Setting(level.recipe, run, level.workdir, _EXAMPLES.value, seed), workers)


def _from_nothing(setting: Setting, workers: Workers) -> Going:
    return comparison.from_nothing(setting, workers, fast=_FAST.value)


def _from_warm_start(setting: Setting, workers: Workers) -> Going:
    return comparison.from_warm_start(setting, workers, shipped.directory())


def _show(level: _Level, found: Sequence[Comparison]) -> None:
    sys.stdout.write(f"\n{level.title}\n\n{outcome.table(found)}\n\nopen {level.workdir / outcome.REPORT}\n")


def _workers(compiled: pathlib.Path) -> contextlib.AbstractContextManager[Workers]:
    backend = jax.default_backend()
    jobs = _JOBS.value or (min(2, os.cpu_count() or 1) if backend == "cpu" else 1)
    if jobs == 1:
        # Arms share most of their programs: those of one are compiled once.
        keep_compiled(compiled)
        return contextlib.nullcontext(Here())
    if backend != "cpu":
        raise ValueError(f"--jobs={jobs} on {backend}: processes cannot share it; give --jobs=1")
    return Processes(jobs, compiled)


if __name__ == "__main__":
    launch(main)
