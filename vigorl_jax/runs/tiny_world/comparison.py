"""The paper's claim on the tiny world: reinforcement with zooms against its controls, under one budget, by one seed."""

import dataclasses
import itertools
import pathlib
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

from vigorl_jax.qwen25vl import weights
from vigorl_jax.qwen25vl.model import Params
from vigorl_jax.reasoning.episode import Episode
from vigorl_jax.reasoning.prompts import Condition
from vigorl_jax.runs import fields, metrics_log
from vigorl_jax.runs.job import MODEL
from vigorl_jax.runs.progress import Progress
from vigorl_jax.runs.settings import GrpoRun
from vigorl_jax.runs.start import train_grpo
from vigorl_jax.runs.tiny_world import dialogues, model
from vigorl_jax.runs.tiny_world.examination import Examiner, Result
from vigorl_jax.runs.tiny_world.recipe import Imitation, OnStep, Recipe, imitate, perceive

SFT, GRPO = "SFT", "GRPO with zooms"
SAME_TIME, NO_BONUS = "SFT for as long as GRPO", "GRPO with zooms, no bonus"
VANILLA, GROUNDED, BASE = "GRPO without grounding", "GRPO with points, one turn", "answer only (SFT)"

# Beside the preset: no pages, validations or checkpoints on the way.
RUN = {
    "validation_datasets": (),
    "validate_every": None,
    "report_every": None,
    "checkpoint_every": 1_000,
}


@dataclasses.dataclass(frozen=True)
class Arm:
    """A model of the comparison.

    Attributes:
      condition: how it answers.
      result: how well.
      steps: of its last stage.
      seconds: that its last stage took, compilation left out where it can be told apart.
      curve: accuracy of the episodes that each step of reinforcement sampled; empty for supervised stages.
    """

    condition: Condition
    result: Result
    steps: int
    seconds: float
    curve: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What came of one seed.

    Attributes:
      seed: of weights, scenes and draws.
      arms: by name, in the order of the table.
      before, after: greedy episodes on the same examples, of SFT and of GRPO with zooms.
      seconds: of everything, compilation included.
    """

    seed: int
    arms: Mapping[str, Arm]
    before: tuple[Episode, ...]
    after: tuple[Episode, ...]
    seconds: float


class Comparer:
    """Makes the arms one after the other; compiled examinations serve several seeds.

    Args:
      recipe: of the model.
      grpo: settings of reinforcement; model, workdir, seed, condition and bonus are set for each arm.
      workdir: where models and logs go.
      examples: of each examination.
      say: shows a line.
    """

    def __init__(
        self,
        recipe: Recipe,
        grpo: GrpoRun,
        workdir: pathlib.Path,
        *,
        examples: int,
        say: Callable[[str], None],
    ):
        self._recipe, self._grpo, self._workdir, self._say = recipe, grpo, workdir, say
        self._examples = examples
        self._examiners: dict[Condition, Examiner] = {}

    def from_nothing(self, seed: int, *, fast: bool) -> Comparison:
        """All arms of a seed, or with `fast` the main contrast alone."""
        began, recipe = time.monotonic(), self._recipe
        stage = Stages(recipe, seed, self._say)
        seen = stage.perceive()
        taught, sft_seconds = stage.imitate(SFT, seen, Condition.MULTITURN)
        arms = {}
        arms[SFT], before = self._arm(taught, Condition.MULTITURN, recipe.imitation_steps, sft_seconds)
        arms[GRPO], after = self._reinforced(GRPO, taught, Condition.MULTITURN, seed)
        if not fast:
            arms[SAME_TIME] = self._imitates_on(stage, taught, arms[GRPO].seconds / sft_seconds)
            arms[NO_BONUS], _ = self._reinforced(NO_BONUS, taught, Condition.MULTITURN, seed, bonus=False)
            arms[GROUNDED] = self._single_turn(stage, GROUNDED, seen, Condition.GROUNDED)
        arms[VANILLA] = self._single_turn(stage, VANILLA, seen, Condition.VANILLA)
        if not fast:
            answering, seconds = stage.imitate(BASE, seen, Condition.BASE)
            arms[BASE], _ = self._arm(answering, Condition.BASE, recipe.imitation_steps, seconds)
        return Comparison(seed, arms, tuple(before), tuple(after), time.monotonic() - began)

    def from_warm_start(self, params: Params, seed: int) -> Comparison:
        """Reinforcement with and without zooms of a model that has imitated dialogues in both conditions."""
        began, arms = time.monotonic(), {}
        arms[SFT], before = self._arm(params, Condition.MULTITURN, 0, 0.0)
        arms[GRPO], after = self._reinforced(GRPO, params, Condition.MULTITURN, seed)
        arms[GROUNDED], _ = self._reinforced(GROUNDED, params, Condition.GROUNDED, seed, bonus=False)
        return Comparison(seed, arms, tuple(before), tuple(after), time.monotonic() - began)

    def _imitates_on(self, stage: "Stages", taught: Params, times: float) -> Arm:
        """As much imitation again, times a factor, as there has been."""
        recipe = self._recipe
        further = Imitation(round(recipe.imitation_steps * times), recipe.imitation[-1].aim)
        longer, seconds = stage.imitate(
            SAME_TIME, taught, Condition.MULTITURN, stages=(further,), first=recipe.imitation_steps
        )
        arm, _ = self._arm(longer, Condition.MULTITURN, further.steps, seconds)
        return arm

    def _single_turn(self, stage: "Stages", name: str, seen: Params, condition: Condition) -> Arm:
        """Imitation and reinforcement without zooms."""
        taught, _ = stage.imitate(name, seen, condition)
        arm, _ = self._reinforced(name, taught, condition, stage.seed, bonus=False)
        return arm

    def _reinforced(
        self, name: str, params: Params, condition: Condition, seed: int, *, bonus: bool = True
    ) -> tuple[Arm, list[Episode]]:
        self._say(name)
        folder = self._workdir / f"seed_{seed}" / name.replace(" ", "_").replace(",", "").lower()
        first = folder / "first"
        first.mkdir(parents=True, exist_ok=True)
        model.write_files(first, self._recipe.config, params, self._recipe.images)
        limits = dialogues.limits(condition, self._recipe.level)
        run = fields.replace(
            self._grpo,
            {
                "model": str(first),
                "workdir": str(folder),
                "seed": seed,
                "shuffle_seed": seed,
                "condition": condition,
                "datasets": (f"glyph_search/{self._recipe.level.name}",),
                "diversity_bonus": bonus,
                "row_length": dialogues.row_length(limits),
                **dataclasses.asdict(limits),
            },
        )
        train_grpo(run)
        steps = list(metrics_log.read(folder / metrics_log.FILE_NAME))
        _, params = weights.load(folder / MODEL)
        seconds = statistics.median(line["time/step"] for line in steps) * len(steps)
        curve = tuple(line["reward/accuracy"] for line in steps)
        return self._arm(params, condition, len(steps), seconds, curve)

    def _arm(
        self, params: Params, condition: Condition, steps: int, seconds: float, curve: tuple[float, ...] = ()
    ) -> tuple[Arm, list[Episode]]:
        if condition not in self._examiners:
            self._examiners[condition] = Examiner(self._recipe, condition, self._examples)
        result, episodes = self._examiners[condition](params)
        self._say(f"greedy {result.greedy.value:.3f}, sampled {result.sampled.value:.3f}")
        return Arm(condition, result, steps, seconds, curve), episodes


class Stages:
    """Supervised stages of one seed, with their progress and their time."""

    def __init__(self, recipe: Recipe, seed: int, say: Callable[[str], None]):
        self.recipe, self.seed, self._say = recipe, seed, say

    def perceive(self) -> Params:
        """Parameters that have learned to point and to read."""
        steps = self.recipe.perception
        params, _ = self._timed("perception", steps, lambda on: perceive(self.recipe, self.seed, on))
        return params

    def imitate(
        self,
        name: str,
        params: Params,
        *conditions: Condition,
        stages: Sequence[Imitation] | None = None,
        first: int = 0,
    ) -> tuple[Params, float]:
        """Parameters that have imitated the teacher (see `recipe.imitate`), and seconds without compilation."""
        stages = stages or self.recipe.imitation
        return self._timed(
            f"{name}: imitation",
            sum(stage.steps for stage in stages),
            lambda on: imitate(
                self.recipe, params, self.seed, on, stages=stages, conditions=conditions, first=first
            ),
        )

    def _timed(self, name: str, steps: int, work: Callable[[OnStep], Params]) -> tuple[Params, float]:
        self._say(name)
        progress = Progress(steps, 0, ("loss",))
        times: list[float] = []

        def on_step(step: int, metrics: Mapping[str, float]) -> None:
            times.append(time.monotonic())
            progress.step(step, metrics)

        params = work(on_step)
        progress.close()
        # At the rate of most steps: the first ones compile.
        return params, statistics.median(b - a for a, b in itertools.pairwise(times)) * steps
