"""What a comparison leaves for its reader: the table, results.json, the learning curves and the episodes."""

import dataclasses
import datetime
import json
import math
import pathlib
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from vigorl_jax.evaluation.statistics import Estimate
from vigorl_jax.reasoning.episode import Episode
from vigorl_jax.report import curves, machine, tables
from vigorl_jax.report.page import write_report
from vigorl_jax.runs.tiny_world.arms import Arm
from vigorl_jax.runs.tiny_world.comparison import Comparison
from vigorl_jax.runs.tiny_world.recipe import Recipe
from vigorl_jax.tasks.glyph_levels import Level
from vigorl_jax.tasks.glyph_questions import options

RESULTS, CURVES, REPORT, TABLE = "results.json", "curves.png", "report.html", "table.txt"
_HEAD = (
    "",
    "greedy",
    "sampled",
    "off by",
    "zooms",
    "looks again",
    "takes back",
    "malformed",
    "steps",
    "seconds",
)
_SHOWN = 12  # Examples of the report.
# Student's t, two-sided 95 %, by the number of seeds.
_T_95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}


def table(comparisons: Sequence[Comparison]) -> str:
    """Accuracies with intervals of 95 %: over the examples of one seed, or over several seeds."""
    rows = [_row(name, [one.arms[name] for one in comparisons]) for name in comparisons[0].arms]
    return tables.as_text(_HEAD, rows)


def write(comparisons: Sequence[Comparison], workdir: pathlib.Path, recipe: Recipe) -> None:
    """Writes all files; the report and the curves are those of the first seed."""
    first = comparisons[0]
    (workdir / TABLE).write_text(table(comparisons) + "\n", encoding="utf-8")
    (workdir / RESULTS).write_text(json.dumps(_record(comparisons), indent=2) + "\n", encoding="utf-8")
    drawn = {name: arm.curve for name, arm in first.arms.items() if arm.curve}
    curves.plot(
        drawn, workdir / CURVES, title=f"Reinforcement on {recipe.level.name}, seed {first.seed}",
        label="accuracy of sampled episodes", chance=chance(recipe.level),
    )  # fmt: skip
    write_report(_before_and_after(first), workdir / REPORT, title="Before and after", settings=recipe.images)


def chance(level: Level) -> float:
    """Accuracy of guesses: 1/6 where letters are asked for, .231 with "same" (1/2) and "pair" (1/36) beside them."""
    return statistics.fmean(1 / len(options(kind)) for kind in level.kinds)


def _row(name: str, arms: Sequence[Arm]) -> list[str]:
    results = [arm.result for arm in arms]
    errors = [result.pointing_error for result in results if result.pointing_error is not None]
    shares = ("looks again", "takes back", "malformed")
    return [
        name,
        _interval([result.greedy for result in results]),
        _interval([result.sampled for result in results]),
        f"{statistics.fmean(errors):.0f} px" if errors else "-",
        _mean(arms, lambda arm: arm.result.zooms, ".2f"),
        *(_mean(arms, lambda arm, share=share: arm.result.behaviours[share], ".2f") for share in shares),
        _mean(arms, lambda arm: arm.steps, ".0f"),
        _mean(arms, lambda arm: arm.seconds, ".0f"),
    ]


def _mean(arms: Sequence[Arm], value: Callable[[Arm], float], form: str) -> str:
    return format(statistics.fmean(map(value, arms)), form)


def _interval(found: Sequence[Estimate]) -> str:
    estimate = over_seeds(found)
    return f"{estimate.value:.3f} ({estimate.low:.3f}-{estimate.high:.3f})"


def over_seeds(found: Sequence[Estimate]) -> Estimate:
    """One seed: its own interval. Several: the mean, with Student's interval of 95 % over the seeds.

    Means .9, 1, .95 of three seeds give .95 (.826 to 1): the spread .05 / sqrt(3) times 4.303, cut at 1.
    """
    if len(found) == 1:
        return found[0]
    values = [estimate.value for estimate in found]
    mean = statistics.fmean(values)
    half = _T_95.get(len(values), 1.96) * statistics.stdev(values) / math.sqrt(len(values))
    return Estimate(mean, max(0.0, mean - half), min(1.0, mean + half), sum(e.examples for e in found))


def _before_and_after(comparison: Comparison) -> list[Episode]:
    """Pairs on the same examples, those first in which something has changed."""
    pairs = list(zip(comparison.before, comparison.after, strict=True))
    pairs.sort(key=lambda pair: pair[0].reward["accuracy"] - pair[1].reward["accuracy"])
    return [
        dataclasses.replace(
            episode, example=dataclasses.replace(episode.example, id=f"{episode.example.id} {when} GRPO")
        )
        for pair in pairs[:_SHOWN]
        for when, episode in zip(("before", "after"), pair, strict=True)
    ]


def _record(comparisons: Sequence[Comparison]) -> dict[str, Any]:
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine.describe(),
        "seeds": [
            {
                "seed": one.seed,
                "seconds": one.seconds,
                "arms": {name: dataclasses.asdict(arm) for name, arm in one.arms.items()},
            }
            for one in comparisons
        ],
        "mean": {
            name: {
                kind: dataclasses.asdict(
                    over_seeds([getattr(one.arms[name].result, kind) for one in comparisons])
                )
                for kind in ("greedy", "sampled")
            }
            for name in comparisons[0].arms
        },
    }
