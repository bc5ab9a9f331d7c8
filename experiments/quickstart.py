"""From nothing to a model that looks where it must, on a laptop's CPU: the paper's claim with its controls.

  python -m experiments.quickstart            # everything
  python -m experiments.quickstart --fast     # the main contrast alone: 7 to 10 minutes on two cores

A tiny Qwen2.5-VL learns to see, imitates a scripted teacher who points with a bias, and learns by GRPO to zoom where
the answer is; the second level, with more and look-alike signs, begins with the model that comes with the package.
Shows a table; writes results.json, curves.png and report.html (episodes before and after, for a browser) to the work
directory.
"""

import pathlib
import sys
from collections.abc import Sequence

from absl import flags

from experiments.launch import launch
from experiments.presets import catalog
from vigorl_jax.qwen25vl import weights
from vigorl_jax.runs import fields
from vigorl_jax.runs.compiled import keep_compiled
from vigorl_jax.runs.tiny_world import comparison, outcome, shipped
from vigorl_jax.runs.tiny_world.comparison import Comparer, Comparison
from vigorl_jax.runs.tiny_world.recipe import Recipe

_WORKDIR = flags.DEFINE_string("workdir", "quickstart", "Folder for models, logs, results and the report.")
_SEED = flags.DEFINE_integer("seed", 0, "Of weights, scenes and draws.", lower_bound=0)
_SEEDS = flags.DEFINE_integer("seeds", 1, "So many seeds from --seed on, and their means.", lower_bound=1)
_FAST = flags.DEFINE_bool("fast", False, "The main contrast alone: SFT, GRPO with zooms, GRPO without.")
_STEPS = flags.DEFINE_integer("grpo_steps", 60, "Steps of reinforcement.", lower_bound=1)
_EXAMPLES = flags.DEFINE_integer("examples", 256, "Of each examination.", lower_bound=1)


def main() -> None:
    """Runs all seeds, shows the table and writes the files."""
    workdir = pathlib.Path(_WORKDIR.value)
    workdir.mkdir(parents=True, exist_ok=True)
    # Arms share most of their programs: those of one are compiled once.
    keep_compiled(workdir / "compiled")
    _first_level(workdir)
    if not _FAST.value:
        _second_level(workdir / "second_level")


def _first_level(workdir: pathlib.Path) -> None:
    """From nothing."""
    comparer, comparisons = _comparer(Recipe(), workdir), []
    for seed in _seeds():
        comparisons.append(comparer.from_nothing(seed, fast=_FAST.value))
        outcome.write(comparisons, workdir, Recipe())
    _show("First level, from random weights", comparisons, workdir)


def _second_level(workdir: pathlib.Path) -> None:
    """From the model that comes with the package."""
    _say("second level")
    workdir.mkdir(exist_ok=True)
    comparer, comparisons = _comparer(shipped.RECIPE, workdir), []
    _, params = weights.load(shipped.directory())
    for seed in _seeds():
        comparisons.append(comparer.from_warm_start(params, seed))
        outcome.write(comparisons, workdir, shipped.RECIPE)
    _show("Second level, from the shipped warm start", comparisons, workdir)


def _comparer(recipe: Recipe, workdir: pathlib.Path) -> Comparer:
    preset = catalog.find(catalog.GRPO, "glyph_search_tiny").settings
    run = fields.replace(preset, {**comparison.RUN, "num_steps": _STEPS.value})
    return Comparer(recipe, run, workdir, examples=_EXAMPLES.value, say=_say)


def _seeds() -> range:
    return range(_SEED.value, _SEED.value + _SEEDS.value)


def _show(title: str, comparisons: Sequence[Comparison], workdir: pathlib.Path) -> None:
    sys.stdout.write(f"{title}\n\n{outcome.table(comparisons)}\n\nopen {workdir / outcome.REPORT}\n\n")


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    launch(main)
