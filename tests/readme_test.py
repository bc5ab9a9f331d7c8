"""What the README says of the five seeds is what their file holds."""

import json
import pathlib

from vigorl_jax.evaluation.statistics import Estimate
from vigorl_jax.runs.tiny_world.outcome import over_seeds

ROOT = pathlib.Path(__file__).parent.parent
FOUND = json.loads((ROOT / "notebooks" / "five_seeds.json").read_text(encoding="utf-8"))


def _quoted(estimate):
    value, low, high = (
        f"{number:.3f}".removeprefix("0") for number in (estimate.value, estimate.low, estimate.high)
    )
    return {f"{value} ({low}-{high})", f"**{value}** ({low}-{high})"}


def test_the_readme_quotes_the_five_seeds():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [one["seed"] for one in FOUND["seeds"]] == list(range(5))
    for name in FOUND["mean"]:
        for kind in ("greedy", "sampled"):
            of_seeds = [Estimate(**one["arms"][name]["result"][kind]) for one in FOUND["seeds"]]
            estimate = over_seeds(of_seeds)
            assert Estimate(**FOUND["mean"][name][kind]) == estimate
            assert any(quoted in readme for quoted in _quoted(estimate)), (
                f"{name}, {kind}: {_quoted(estimate)}"
            )
