"""Makes a tiny model for GlyphSearch from random weights, with this project's own pipeline.

  python -m experiments.make_tiny_model --output_dir tiny

Perception first (the tower token by token, then captions and questions that say where signs are and which letter a
close view shows), then dialogues of the scripted teacher. Writes a model directory that transformers loads, and says
how well the model does.
"""

import pathlib
import sys

from absl import flags

from experiments.launch import launch
from vigorl_jax.reasoning.prompts import Condition
from vigorl_jax.runs.tiny_world import model
from vigorl_jax.runs.tiny_world.comparison import Stages
from vigorl_jax.runs.tiny_world.examination import Examiner
from vigorl_jax.runs.tiny_world.recipe import Recipe

_OUTPUT = flags.DEFINE_string("output_dir", None, "Model directory to write.", required=True)
_SEED = flags.DEFINE_integer("seed", 0, "Of weights, scenes and dialogues.", lower_bound=0)
_CONDITION = flags.DEFINE_enum("condition", "multiturn", tuple(Condition), "How the teacher answers.")
_EXAMPLES = flags.DEFINE_integer("examples", 256, "Of the examination.", lower_bound=1)


def main() -> None:
    """Trains, examines and writes the model."""
    recipe, condition = Recipe(), Condition(_CONDITION.value)
    stages = Stages(recipe, _SEED.value, lambda line: sys.stderr.write(f"{line}\n"))
    params, _ = stages.imitate("SFT", stages.perceive(), condition, recipe.imitation)
    directory = pathlib.Path(_OUTPUT.value)
    model.write_files(directory, recipe.config, params, recipe.images)
    result, _ = Examiner(recipe, condition, _EXAMPLES.value)(params)
    sys.stdout.write(f"greedy {result.greedy}\nsampled {result.sampled}\nthe model is in {directory}\n")


if __name__ == "__main__":
    launch(main)
