"""Converts weights between a Hugging Face model directory and an Orbax directory, exactly, both ways.

    python -m experiments.convert_weights --input=Qwen2.5-VL-3B-Instruct --output=qwen_orbax
    python -m experiments.convert_weights --input=qwen_orbax --output=qwen_hf --dtype=bfloat16

The direction is that of the input. Tokenizer, processor and generation settings travel along.
"""

import pathlib
import sys

import jax
from absl import flags, logging

from experiments.launch import launch
from vigorl_jax.qwen25vl import weights
from vigorl_jax.qwen25vl.config import FILE_NAME
from vigorl_jax.qwen25vl.conversion import Conversion, convert

_INPUT = flags.DEFINE_string("input", None, "Model directory or Orbax directory to read.", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "Directory to write.", required=True)
_DTYPE = flags.DEFINE_enum("dtype", None, weights.DTYPES, "Type to convert to; by default as stored.")
_MAX_SHARD_GB = flags.DEFINE_float(
    "max_shard_gb", 5.0, "Largest safetensors file, in 10^9 bytes.", lower_bound=1e-6
)
_OVERWRITE = flags.DEFINE_bool(
    "overwrite", False, f"Replace the output directory, and all that is in it, if it holds a {FILE_NAME}."
)


def main() -> None:
    """Reads the flags, converts and says what was written."""
    # A damaged checkpoint reports itself once more for each of Orbax's coroutines.
    logging.set_verbosity(logging.FATAL)
    sys.unraisablehook = lambda unraisable: None
    # Weights pass through host memory: a model need not fit on an accelerator to be converted.
    jax.config.update("jax_platforms", "cpu")
    conversion = Conversion(
        source=pathlib.Path(_INPUT.value),
        target=pathlib.Path(_OUTPUT.value),
        dtype=_DTYPE.value,
        max_shard_bytes=_MAX_SHARD_GB.value * 1e9,
        overwrite=_OVERWRITE.value,
    )
    print(convert(conversion))


if __name__ == "__main__":
    launch(main)
