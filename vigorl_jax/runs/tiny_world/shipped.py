"""The tiny model that comes with the package: a warm start for the first level of GlyphSearch, with zooms.

`python -m experiments.make_tiny_model --output_dir vigorl_jax/runs/tiny_world/checkpoint` makes it again.
"""

import pathlib


def directory() -> pathlib.Path:
    """A model directory in Hugging Face layout; as any other, it can be given to `--model`."""
    return pathlib.Path(__file__).with_name("checkpoint")
