"""From nothing to a model that looks where it must, on a laptop's CPU: the paper's claim with its controls.

  python -m experiments.quickstart            # everything
  python -m experiments.quickstart --fast     # the main contrast alone: 11 minutes on two cores

A tiny Qwen2.5-VL learns to see, imitates a scripted teacher who points with a bias, and learns by GRPO to zoom where
the answer is. Shows a table; writes results.json, curves.png and report.html (episodes before and after, for a
browser) to the work directory.
"""

import pathlib
import sys

from absl import flags

from experiments.launch import launch
from experiments.presets import catalog
from vigorl_jax.runs import fields
from vigorl_jax.runs.compiled import keep_compiled
from vigorl_jax.runs.tiny_world import comparison, outcome
from vigorl_jax.runs.tiny_world.comparison import Comparer
from vigorl_jax.runs.tiny_world.recipe import Recipe

_WORKDIR = flags.DEFINE_string("workdir", "quickstart", "Folder for models, logs, results and the report.")
_SEED = flags.DEFINE_integer("seed", 0, "Of weights, scenes and draws.", lower_bound=0)
_SEEDS = flags.DEFINE_integer("seeds", 1, "So many seeds from --seed on, and their means.", lower_bound=1)
_FAST = flags.DEFINE_bool("fast", False, "The main contrast alone: SFT, GRPO with zooms, GRPO without.")
_STEPS = flags.DEFINE_integer("grpo_steps", 80, "Steps of reinforcement.", lower_bound=1)
_EXAMPLES = flags.DEFINE_integer("examples", 256, "Of each examination.", lower_bound=1)


def main() -> None:
    """Runs all seeds, shows the table and writes the files."""
    workdir = pathlib.Path(_WORKDIR.value)
    workdir.mkdir(parents=True, exist_ok=True)
    # Arms share most of their programs: those of one are compiled once.
    keep_compiled(workdir / "compiled")
    preset = catalog.find(catalog.GRPO, "glyph_search_tiny").settings
    comparer = Comparer(
        Recipe(),
        fields.replace(preset, {**comparison.RUN, "num_steps": _STEPS.value}),
        workdir,
        examples=_EXAMPLES.value,
        say=_say,
    )
    comparisons = []
    for seed in range(_SEED.value, _SEED.value + _SEEDS.value):
        comparisons.append(comparer.run(seed, fast=_FAST.value))
        outcome.write(comparisons, workdir, Recipe())
    sys.stdout.write(outcome.table(comparisons) + "\n")
    sys.stdout.write(f"open {workdir / outcome.REPORT}\n")


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    launch(main)
