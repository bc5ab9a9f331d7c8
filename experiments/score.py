"""Scores transcripts offline, without any model.

  python -m experiments.score --reward_cases cases.jsonl --output scores.jsonl

Each line of the cases holds `reward` (such as text_grounded), `prediction`, `answer` and, if wanted, `preset`
(published or gated); each line of the output holds `overall`, `format` and `accuracy`, in the same order.
--reward=file.py:function scores all of them by a reward of your own, which `train_grpo` takes by the same flag.
"""

import dataclasses

from absl import flags

from experiments.launch import launch
from vigorl_jax.reasoning import reward_cases

_REWARD_CASES = flags.DEFINE_string(
    "reward_cases", None, "JSON lines with reward, prediction, answer, preset."
)
_REWARD = flags.DEFINE_string(
    "reward",
    None,
    "Scores all cases, whatever they name: a reward's name, or one of your own as file.py:function.",
)
_OUTPUT = flags.DEFINE_string("output", None, "Where to write one JSON line of scores per case.")


@dataclasses.dataclass(frozen=True)
class Config:
    """The flags as one record."""

    reward_cases: str
    output: str
    reward: str | None = None


def run(config: Config) -> None:
    """Scores the file of cases and says how many there were."""
    count = reward_cases.score_file(config.reward_cases, config.output, config.reward)
    print(f"Scored {count} cases: {config.output}")


def main() -> None:
    """Reads the flags and scores."""
    run(Config(_REWARD_CASES.value, _OUTPUT.value, _REWARD.value))


if __name__ == "__main__":
    flags.mark_flags_as_required(["reward_cases", "output"])
    launch(main)
