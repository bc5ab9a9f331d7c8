"""Measures one part of the system beside a named peer, in one run: `--suite NAME --output FILE`."""

import importlib
import json
import pathlib
import sys

from absl import flags

from experiments.launch import launch

SUITES = ("backbone", "sampling", "training", "zoom", "data")

_SUITE = flags.DEFINE_enum("suite", None, SUITES, "what to measure", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "file for the figures as JSON; also printed")


def main() -> None:
    """Runs the suite, prints its figures and writes them."""
    figures = importlib.import_module(f"experiments.benchmarks.{_SUITE.value}").run()
    text = json.dumps(figures, indent=1) + "\n"
    if _OUTPUT.value:
        path = pathlib.Path(_OUTPUT.value)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    launch(main)
