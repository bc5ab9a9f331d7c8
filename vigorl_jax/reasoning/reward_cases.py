"""Scoring transcripts offline: a file of reward cases in, a file of scores out, without any model."""

import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vigorl_jax.reasoning import reward_parts, rewards
from vigorl_jax.reasoning.reward_parts import REQUIRED, RewardParts
from vigorl_jax.reasoning.rewards import Reward


@dataclasses.dataclass(frozen=True)
class RewardCase:
    """One line of a file of reward cases; meanings as in `rewards.score`."""

    reward: str
    prediction: str
    answer: str
    preset: str = "published"


def read(path: str | Path, reward: str | None = None) -> Iterator[tuple[str, RewardCase]]:
    """Reads JSON lines with `reward`, `prediction`, `answer` and, if wanted, `preset`.

    Other keys are left alone; empty lines are skipped.

    Args:
      path: The file.
      reward: Takes the place of what lines say; they then need not name any.

    Yields:
      The file and the line, for messages, and the case.

    Raises:
      ValueError: a line is not UTF-8, not a JSON object, or lacks a key or a string; the message names the
        line.
      OSError: the file cannot be read.
    """
    with open(path, "rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                where = f"{path}, line {number}"
                yield where, _case(line, where, reward)


def _case(line: bytes, where: str, reward: str | None) -> RewardCase:
    try:
        record: Any = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: not a line of JSON ({error}).") from None
    if not isinstance(record, dict):
        raise ValueError(f"{where}: expected a JSON object, got {type(record).__name__}.")
    record |= {} if reward is None else {"reward": reward}
    values = {}
    for field in dataclasses.fields(RewardCase):
        if field.name not in record and field.default is not dataclasses.MISSING:
            continue
        if not isinstance(record.get(field.name), str):
            raise ValueError(
                f"{where}: the key {field.name!r} must hold a string, got {record.get(field.name)!r:.80}."
            )
        values[field.name] = record[field.name]
    # Code is never run because a file of data names it.
    if reward is None and values["reward"] not in rewards.REWARDS:
        raise ValueError(
            f"{where}: unknown reward {values['reward']!r:.80}; choose one of {', '.join(rewards.REWARDS)}, or "
            "name one of your own for the whole file with --reward=file.py:function."
        )
    if values.get("preset", "published") not in rewards.PRESETS:
        raise ValueError(
            f"{where}: unknown preset {values['preset']!r:.80}; choose {' or '.join(rewards.PRESETS)}."
        )
    return RewardCase(**values)


def score_file(cases: str | Path, output: str | Path, reward: str | None = None) -> int:
    """Scores every case and writes one JSON line each, with overall, format and accuracy, in the same order.

    The output appears complete or not at all: it is written beside its place and moved there at the end.

    Args:
      cases: File of cases; see `read`.
      output: File of scores.
      reward: Scores all cases: one of `rewards.REWARDS`, or a user's own as file.py:function, for which presets mean
        nothing. By default each line says its own.

    Returns:
      The number of cases.

    Raises:
      ValueError, OSError: as in `read` and `rewards.load`, a user's reward that fails or returns no parts, or the
        output cannot be written.
    """
    own = None if reward is None or reward in rewards.REWARDS else rewards.load(reward)
    output = Path(output)
    partial = output.with_name(f".{output.name}.{os.getpid()}.partial")
    output.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    try:
        with open(partial, "w", encoding="utf-8") as lines:
            for where, case in read(cases, reward):
                scored = _scored(case, own, where)
                lines.write(json.dumps({name: scored[name] for name in REQUIRED}) + "\n")
                count += 1
        os.replace(partial, output)
    finally:
        partial.unlink(missing_ok=True)
    return count


def _scored(case: RewardCase, own: Reward | None, where: str) -> RewardParts:
    if own is None:
        return rewards.score(case.reward, case.prediction, case.answer, case.preset)
    try:
        return own(case.prediction, case.answer)
    # A user's own function may raise anything.
    except Exception as error:
        raise ValueError(f"{where}: the reward cannot be used: {reward_parts.problem(error)}") from error
