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
from vigorl_jax.runs.tiny_world import model, shipped, stages
from vigorl_jax.runs.tiny_world.examination import Examiner
from vigorl_jax.runs.tiny_world.recipe import Recipe

_RECIPES = {"level_1": Recipe(), "level_2": shipped.RECIPE}
_OUTPUT = flags.DEFINE_string("output_dir", None, "Model directory to write.", required=True)
_SEED = flags.DEFINE_integer("seed", 0, "Of weights, scenes and dialogues.", lower_bound=0)
_LEVEL = flags.DEFINE_enum(
    "level", "level_2", tuple(_RECIPES), "Whose scenes are learned; the shipped model's is level_2."
)
_EXAMPLES = flags.DEFINE_integer("examples", 256, "Of the examination.", lower_bound=1)


def main() -> None:
    """Trains, examines and writes the model."""
    recipe = _RECIPES[_LEVEL.value]
    params = stages.perceive(recipe, _SEED.value)
    params, _ = stages.imitate(recipe, _SEED.value, "SFT", params, *recipe.conditions)
    directory = pathlib.Path(_OUTPUT.value)
    model.write_files(directory, recipe.config, params, recipe.images)
    for condition in dict.fromkeys(recipe.conditions):
        result, _ = Examiner(recipe, condition, _EXAMPLES.value)(params)
        sys.stdout.write(f"{condition}: greedy {result.greedy}, sampled {result.sampled}\n")
    sys.stdout.write(f"the model is in {directory}\n")


if __name__ == "__main__":
    launch(main)
