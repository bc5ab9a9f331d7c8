"""Trains by group-relative policy gradients on grounded, zooming episodes; goes on by itself from its work directory.

  python -m experiments.train_grpo --preset glyph_search_tiny --workdir /tmp/tiny
  python -m experiments.train_grpo --preset visual_search_multiturn_3b --model DIR --data_dir DIR --workdir DIR
  python -m experiments.train_grpo --list_presets

Writes checkpoints/, metrics.jsonl, tensorboard/, episodes/ (pages for a browser), config.json, and model/, which
transformers loads. Stop it with SIGTERM or Ctrl-C: it saves, and the same command goes on as if nothing had happened.
"""

from experiments import settings_flags
from experiments.launch import launch
from experiments.training import train
from vigorl_jax.runs.settings import GrpoRun
from vigorl_jax.runs.start import train_grpo

settings_flags.define(GrpoRun)


def main() -> None:
    """Trains, or shows presets."""
    train(GrpoRun, train_grpo)


if __name__ == "__main__":
    launch(main)
