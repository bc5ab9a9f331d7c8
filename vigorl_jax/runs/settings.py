"""Settings of training runs, supervised and by reinforcement: every choice once, checked when it is made.

`SftRun` and `GrpoRun` are made of `episode_settings`, `learning_settings` and of records that the parts of a run
already have. Each value has a name of its own (`fields`), which is its flag too.
"""

import dataclasses
from typing import Any, Literal

from vigorl_jax.reasoning.prompts import Condition
from vigorl_jax.runs import contradictions
from vigorl_jax.runs.episode_settings import (
    DataSettings,
    EpisodeSettings,
    RewardSettings,
    SamplingSettings,
    ValidationSettings,
)
from vigorl_jax.runs.fields import check, number
from vigorl_jax.runs.learning_settings import (
    AGGREGATES,
    AdvantageSettings,
    ObjectiveSettings,
    RowSettings,
    ScheduleSettings,
)
from vigorl_jax.runs.loop import LoopSettings
from vigorl_jax.training.learner_settings import LearnerSettings
from vigorl_jax.training.lora import LoraSettings

# What a run works out itself stands here with values that are never used.
_LOOP = LoopSettings(workdir="-", num_steps=1)
_LEARNER_DERIVED = ("schedule", "total_steps", "objective", "aggregate", "lora", "temperature", "accumulates")
# Names that say enough on their own, as flags.
_LEARNER_NAMES = {
    "kind": "optimiser",
    "eps": "adam_eps",
    "momentum": "muon_momentum",
    "weights": "weights_dtype",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """What supervised and reinforcement runs have in common.

    Attributes:
      model: Model directory to begin with; none for a tiny model made on the spot.
      workdir: Folder of checkpoints, logs, reports and the final model; a run goes on with what it finds there.
      seed: Of parameters that begin at random, and of all draws.
      validate_every: Steps between validations; none for at start and end only.
      report_every: Steps between pages of sample episodes; none for no pages.
      mesh: Devices along data, fsdp and tensor; -1 is what is left.
      adapters: Whether low-rank adapters are trained in place of the parameters.
      data: What is learned from.
      validation: What is asked in validation.
      episodes: How episodes are held.
      rows: How they become rows of a batch.
      schedule: How the learning rate goes.
      learner: How the learner computes.
      lora: The adapters.
      loop: The frame of the run: checkpoints, logs, alarms.
    """

    model: str | None = None
    workdir: str | None = None
    seed: int = number(0, least=0, below=2**32)
    validate_every: int | None = number(None, least=1)
    report_every: int | None = number(25, least=1)
    mesh: str = "fsdp=-1"
    adapters: bool = False
    data: DataSettings
    validation: ValidationSettings = dataclasses.field(
        default_factory=ValidationSettings, metadata={"prefix": "validation_"}
    )
    episodes: EpisodeSettings
    rows: RowSettings = dataclasses.field(default_factory=RowSettings)
    schedule: ScheduleSettings = dataclasses.field(default_factory=ScheduleSettings)
    learner: LearnerSettings = dataclasses.field(
        default_factory=LearnerSettings, metadata={"names": _LEARNER_NAMES, "derived": _LEARNER_DERIVED}
    )
    lora: LoraSettings = dataclasses.field(default_factory=LoraSettings, metadata={"prefix": "lora_"})
    loop: LoopSettings = dataclasses.field(
        default=_LOOP,
        metadata={"names": {"window": "health_window"}, "derived": ("workdir", "num_steps")},
    )

    def loop_for(self, num_steps: int) -> LoopSettings:
        """The frame of a run of so many steps.

        Raises:
          ValueError: there is no workdir.
        """
        return dataclasses.replace(self.loop, workdir=self.workdir or "", num_steps=num_steps)

    def _learner(self, num_updates: int, **chosen: Any) -> LearnerSettings:
        """The learner of a run of so many updates."""
        optimiser, ratio = self.learner.optimiser, self.schedule.warmup_ratio
        warmup = optimiser.warmup_steps if ratio is None else round(ratio * num_updates)
        optimiser = dataclasses.replace(
            optimiser,
            schedule=self.schedule.schedule,
            warmup_steps=warmup,
            total_steps=max(num_updates, warmup + 1),
        )
        lora = self.lora if self.adapters else None
        return dataclasses.replace(self.learner, optimiser=optimiser, lora=lora, **chosen)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SftRun(Run):
    """A supervised run.

    Attributes:
      num_steps: Steps of the run; none for as many as `num_epochs` take.
      num_epochs: Passes over the data where `num_steps` is none.
      batch_size: Episodes of a step, over all processes.
      points: Whether points in taught thoughts are kept, or removed for the ablation without grounding.
      aggregation: How tokens become one number.
    """

    num_steps: int | None = number(None, least=1)
    num_epochs: int = number(3, least=1)
    batch_size: int = number(32, least=1)
    points: Literal["keep", "remove"] = "keep"
    aggregation: Literal["token_mean", "sequence_mean"] = "token_mean"

    def __post_init__(self) -> None:
        """Refuses records that contradict each other."""
        check(self)
        contradictions.of_run(self)
        contradictions.of_sft(self)

    def learner_for(self, num_steps: int) -> LearnerSettings:
        """The learner of a run of so many steps, an update each."""
        return self._learner(num_steps, aggregate=AGGREGATES[self.aggregation])


@dataclasses.dataclass(frozen=True, kw_only=True)
class GrpoRun(Run):
    """A run of group-relative policy gradients.

    Attributes:
      num_steps: Steps of the run, each of which rolls out once.
      sampling: How much is rolled out.
      reward: What episodes are rewarded for.
      objective: What is minimised.
      advantages: What is learned from which episodes.
      updates_per_step: Equal parts of a step's episodes, with one update each.
      epochs_per_step: Passes over a step's episodes.
      reference: Where the reference policy is kept; with adapters it is the model without them, and takes no room.
      overlap: Whether step n + 1 is rolled out while step n is learned, one step off-policy.
    """

    num_steps: int = number(500, least=1)
    sampling: SamplingSettings = dataclasses.field(default_factory=SamplingSettings)
    reward: RewardSettings = dataclasses.field(default_factory=RewardSettings)
    objective: ObjectiveSettings = dataclasses.field(default_factory=ObjectiveSettings)
    advantages: AdvantageSettings = dataclasses.field(default_factory=AdvantageSettings)
    updates_per_step: int = number(1, least=1)
    epochs_per_step: int = number(1, least=1)
    reference: Literal["none", "device", "host"] = "device"
    overlap: bool = False

    def __post_init__(self) -> None:
        """Refuses records that contradict each other."""
        check(self)
        contradictions.of_run(self)
        contradictions.of_grpo(self)

    @property
    def episodes_per_update(self) -> int:
        """Episodes of one update, over all processes."""
        return self.sampling.episodes_per_step // self.updates_per_step

    def learner_for(self, num_steps: int) -> LearnerSettings:
        """The learner of a run of so many steps, each of `updates_per_step` x `epochs_per_step` updates."""
        num_updates = num_steps * self.updates_per_step * self.epochs_per_step
        return self._learner(
            num_updates,
            objective=self.objective.objective(self.most_sampled_tokens),
            temperature=self.sampling.temperature,
            accumulates=self.advantages.drops_zero,
        )

    @property
    def most_sampled_tokens(self) -> int:
        """The most tokens that an episode may sample."""
        limits = self.episodes.limits
        turns = limits.turns if self.episodes.condition is Condition.MULTITURN else 1
        return min(turns * limits.max_turn_tokens, limits.max_tokens)
