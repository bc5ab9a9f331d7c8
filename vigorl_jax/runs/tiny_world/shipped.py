"""The tiny model that comes with the package: a warm start for the second level of GlyphSearch, and so for the first.

`python -m experiments.make_tiny_model --output_dir vigorl_jax/runs/tiny_world/checkpoint` makes it again.
"""

import pathlib

from immutabledict import immutabledict

from vigorl_jax.reasoning.prompts import Condition
from vigorl_jax.runs.tiny_world.recipe import Imitation, Recipe, Sight, Words
from vigorl_jax.tasks.glyph_levels import LEVEL_2
from vigorl_jax.tasks.glyph_teacher import Aim

_M, _G = Condition.MULTITURN, Condition.GROUNDED

# Signs anywhere, with others of the same colour: there is more to tell apart, and it takes eight times as many captions
# to learn which sign a name means. The teacher points rightly until the model can follow, and with a bias at the end.
RECIPE = Recipe(
    level=LEVEL_2,
    model=immutabledict(layers=4, vision_depth=3),
    scenes=6000,
    sight=Sight(300),
    words=(Words(1800, 64, 0), Words(600, 24, 24, schedule="linear")),
    imitation=(Imitation(3600, Aim(shrink=1, spread=0)), Imitation(500, Aim(shrink=0.65, spread=4))),
    dialogues=None,
    comparisons=8,
    conditions=(_M, _M, _M, _G, _M, _M, _M, _M, _G),
    row_length=256,
)


def directory() -> pathlib.Path:
    """A model directory in Hugging Face layout; as any other, it can be given to `--model`."""
    return pathlib.Path(__file__).with_name("checkpoint")
