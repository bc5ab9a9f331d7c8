"""The paper's claim on the tiny world: reinforcement with zooms against its controls, under one budget, by one seed."""

import dataclasses
import pathlib
import time
from collections.abc import Mapping
from concurrent.futures import Future

from vigorl_jax.reasoning.episode import Episode
from vigorl_jax.reasoning.prompts import Condition
from vigorl_jax.runs.side_by_side import Workers
from vigorl_jax.runs.tiny_world import arms
from vigorl_jax.runs.tiny_world.arms import Arm, Examined, Setting, Trained

SFT, GRPO = "SFT", "GRPO with zooms"
SAME_TIME, NO_BONUS = "SFT for as long as GRPO", "GRPO with zooms, no bonus"
VANILLA, GROUNDED, BASE = "GRPO without grounding", "GRPO with points, one turn", "answer only (SFT)"
_ORDER = (SFT, GRPO, SAME_TIME, NO_BONUS, GROUNDED, VANILLA, BASE)

# Beside the preset: no pages, validations or checkpoints on the way.
RUN = {
    "validation_datasets": (),
    "validate_every": None,
    "report_every": None,
    "checkpoint_every": 1_000,
}


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What came of one seed.

    Attributes:
      seed: of weights, scenes and draws.
      arms: by name, in the order of the table.
      before, after: greedy episodes on the same examples, of SFT and of GRPO with zooms.
      seconds: from the first arm's beginning to the last one's end, compilation included, perhaps beside other seeds.
    """

    seed: int
    arms: Mapping[str, Arm]
    before: tuple[Episode, ...]
    after: tuple[Episode, ...]
    seconds: float


@dataclasses.dataclass(frozen=True)
class Going:
    """A comparison whose last arms are still being made.

    Attributes:
      seed: of weights, scenes and draws.
      arms: by name.
      began: in seconds since the epoch.
    """

    seed: int
    arms: Mapping[str, Future[Examined]]
    began: float

    def done(self) -> bool:
        """Whether `result` would come at once."""
        return all(arm.done() for arm in self.arms.values())

    def result(self) -> Comparison:
        """Waits for all arms.

        Raises:
          Whatever the making of one has raised.
        """
        made = {name: self.arms[name].result() for name in _ORDER if name in self.arms}
        return Comparison(
            self.seed,
            {name: one.arm for name, one in made.items()},
            made[SFT].episodes,
            made[GRPO].episodes,
            max(one.finished for one in made.values()) - self.began,
        )


def from_nothing(setting: Setting, workers: Workers, *, fast: bool) -> Going:
    """All arms of a seed, or with `fast` the main contrast alone; returns when no further work must be submitted.

    What others wait for begins first. Times of arms are those beside other work, and SFT for as long as GRPO goes by
    them.
    """
    began, zooming = time.time(), Condition.MULTITURN
    seen = workers.submit(arms.perceive, setting).result()
    taught = workers.submit(arms.imitate, setting, SFT, seen, zooming)
    going = {}
    going[VANILLA] = workers.submit(arms.imitate_and_reinforce, setting, VANILLA, seen, Condition.VANILLA)
    taught = taught.result()
    going[GRPO] = workers.submit(arms.reinforce, setting, GRPO, taught, zooming, bonus=True)
    going[SFT] = workers.submit(arms.examine, setting, SFT, taught, zooming)
    if not fast:
        going[NO_BONUS] = workers.submit(arms.reinforce, setting, NO_BONUS, taught, zooming)
        going[GROUNDED] = workers.submit(
            arms.imitate_and_reinforce, setting, GROUNDED, seen, Condition.GROUNDED
        )
        going[BASE] = workers.submit(arms.imitate_and_examine, setting, BASE, seen, Condition.BASE)
        further = round(taught.steps * going[GRPO].result().arm.seconds / taught.seconds)
        going[SAME_TIME] = workers.submit(
            arms.imitate_and_examine, setting, SAME_TIME, taught, zooming, further=further
        )
    return Going(setting.seed, going, began)


def from_warm_start(setting: Setting, workers: Workers, directory: pathlib.Path) -> Going:
    """Reinforcement with and without zooms of a model that has imitated dialogues in both conditions."""
    began, first, zooming = time.time(), Trained(directory), Condition.MULTITURN
    going = {
        GRPO: workers.submit(arms.reinforce, setting, GRPO, first, zooming, bonus=True),
        GROUNDED: workers.submit(arms.reinforce, setting, GROUNDED, first, Condition.GROUNDED),
        SFT: workers.submit(arms.examine, setting, SFT, first, zooming),
    }
    return Going(setting.seed, going, began)
