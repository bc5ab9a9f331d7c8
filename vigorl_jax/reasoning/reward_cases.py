"""Scoring transcripts offline: a file of reward cases in, a file of scores out, without any model."""

import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vigorl_jax.reasoning import rewards
from vigorl_jax.reasoning.reward_parts import REQUIRED


@dataclasses.dataclass(frozen=True)
class RewardCase:
    """One line of a file of reward cases; meanings as in `rewards.score`."""

    reward: str
    prediction: str
    answer: str
    preset: str = "published"


def read(path: str | Path) -> Iterator[RewardCase]:
    """Reads JSON lines with `reward`, `prediction`, `answer` and, if wanted, `preset`.

    Other keys are left alone; empty lines are skipped.

    Raises:
      ValueError: a line is not UTF-8, not a JSON object, or lacks a key or a string; the message names the
        line.
      OSError: the file cannot be read.
    """
    with open(path, "rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield _case(line, f"{path}, line {number}")


def _case(line: bytes, where: str) -> RewardCase:
    try:
        record: Any = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: not a line of JSON ({error}).") from None
    if not isinstance(record, dict):
        raise ValueError(f"{where}: expected a JSON object, got {type(record).__name__}.")
    values = {}
    for field in dataclasses.fields(RewardCase):
        if field.name not in record and field.default is not dataclasses.MISSING:
            continue
        if not isinstance(record.get(field.name), str):
            raise ValueError(
                f"{where}: the key {field.name!r} must hold a string, got {record.get(field.name)!r:.80}."
            )
        values[field.name] = record[field.name]
    if values["reward"] not in rewards.REWARDS:
        raise ValueError(
            f"{where}: unknown reward {values['reward']!r:.80}; choose one of {', '.join(rewards.REWARDS)}."
        )
    if values.get("preset", "published") not in rewards.PRESETS:
        raise ValueError(
            f"{where}: unknown preset {values['preset']!r:.80}; choose {' or '.join(rewards.PRESETS)}."
        )
    return RewardCase(**values)


def score_file(cases: str | Path, output: str | Path) -> int:
    """Scores every case and writes one JSON line each, with overall, format and accuracy, in the same order.

    The output appears complete or not at all: it is written beside its place and moved there at the end.

    Returns:
      The number of cases.

    Raises:
      ValueError, OSError: as in `read`, or the output cannot be written.
    """
    output = Path(output)
    partial = output.with_name(f".{output.name}.{os.getpid()}.partial")
    output.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    try:
        with open(partial, "w", encoding="utf-8") as lines:
            for case in read(cases):
                scored = rewards.score(case.reward, case.prediction, case.answer, case.preset)
                lines.write(json.dumps({name: scored[name] for name in REQUIRED}) + "\n")
                count += 1
        os.replace(partial, output)
    finally:
        partial.unlink(missing_ok=True)
    return count
