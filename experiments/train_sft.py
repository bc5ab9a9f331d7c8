"""Trains supervised on episodes that were written beforehand; goes on by itself from its work directory.

  python -m experiments.train_sft --preset glyph_search_tiny_sft --workdir /tmp/tiny_sft
  python -m experiments.train_sft --preset visual_search_multiturn_3b_sft --model DIR --data_dir DIR --workdir DIR
  python -m experiments.train_sft --list_presets

Writes checkpoints/, metrics.jsonl, tensorboard/, episodes/ (pages for a browser), config.json, and model/, which
transformers loads. Stop it with SIGTERM or Ctrl-C: it saves, and the same command goes on as if nothing had happened.
"""

from experiments import settings_flags
from experiments.launch import launch
from experiments.training import train
from vigorl_jax.runs.settings import SftRun
from vigorl_jax.runs.start import train_sft

settings_flags.define(SftRun)


def main() -> None:
    """Trains, or shows presets."""
    train(SftRun, train_sft)


if __name__ == "__main__":
    launch(main)
