"""The models of the comparison, each made from the files of another: work that processes can do side by side."""

import dataclasses
import functools
import pathlib
import statistics
import time

from vigorl_jax.qwen25vl import weights
from vigorl_jax.qwen25vl.model import Params
from vigorl_jax.reasoning.episode import Episode
from vigorl_jax.reasoning.prompts import Condition
from vigorl_jax.runs import fields, metrics_log
from vigorl_jax.runs.job import MODEL
from vigorl_jax.runs.progress import say, titled
from vigorl_jax.runs.settings import GrpoRun
from vigorl_jax.runs.start import train_grpo
from vigorl_jax.runs.tiny_world import dialogues, model, stages
from vigorl_jax.runs.tiny_world.examination import Examiner, Result
from vigorl_jax.runs.tiny_world.recipe import Imitation, Recipe


@dataclasses.dataclass(frozen=True)
class Setting:
    """What the arms of one seed share.

    Attributes:
      recipe: of the models.
      grpo: settings of reinforcement; model, workdir, seed, condition, bonus and room are set for each arm.
      workdir: where models and logs go.
      examples: of each examination.
      seed: of weights, scenes and draws.
    """

    recipe: Recipe
    grpo: GrpoRun
    workdir: pathlib.Path
    examples: int
    seed: int

    def folder(self, name: str) -> pathlib.Path:
        """Of the arm of that name."""
        return self.workdir / f"seed_{self.seed}" / name.replace(" ", "_").replace(",", "").lower()


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
class Trained:
    """A model directory, and what the last stage of its training took; see `Arm`."""

    directory: pathlib.Path
    steps: int = 0
    seconds: float = 0.0
    curve: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True)
class Examined:
    """An arm with its greedy episodes, and when it was there, in seconds since the epoch."""

    arm: Arm
    episodes: tuple[Episode, ...]
    finished: float


def perceive(setting: Setting) -> Trained:
    """A model that has learned to point and to read."""
    params = stages.perceive(setting.recipe, setting.seed)
    return Trained(_written(setting, "perception", params), setting.recipe.perception)


def imitate(
    setting: Setting,
    name: str,
    first: Trained,
    condition: Condition,
    *,
    further: int | None = None,
) -> Trained:
    """A model that imitates the teacher in one condition.

    Args:
      setting: of the seed.
      name: of the arm.
      first: the model before.
      condition: of the dialogues.
      further: so many steps as in the recipe's last stage, for a model behind all stages; None for the stages.
    """
    recipe, (_, params) = setting.recipe, weights.load(first.directory)
    held, before = recipe.imitation, 0
    if further is not None:
        held, before = (Imitation(further, held[-1].aim),), recipe.imitation_steps
    params, seconds = stages.imitate(recipe, setting.seed, name, params, condition, stages=held, first=before)
    steps = sum(stage.steps for stage in held)
    return Trained(_written(setting, f"{name} imitation", params), steps, seconds)


def reinforce(
    setting: Setting, name: str, first: Trained, condition: Condition, *, bonus: bool = False
) -> Examined:
    """A model after GRPO in a condition, with or without the bonus for further zooms.

    Raises:
      KeyboardInterrupt: SIGTERM or SIGINT, which the run answers by saving its state.
    """
    recipe, folder = setting.recipe, setting.folder(name)
    limits = dialogues.limits(condition, recipe.level)
    run = fields.replace(
        setting.grpo,
        {
            "model": str(first.directory),
            "workdir": str(folder),
            "seed": setting.seed,
            "shuffle_seed": setting.seed,
            "condition": condition,
            "datasets": (f"glyph_search/{recipe.level.name}",),
            "diversity_bonus": bonus,
            "row_length": dialogues.row_length(limits),
            **dataclasses.asdict(limits),
        },
    )
    with titled(name):
        outcome = train_grpo(run)
    if outcome.signal:
        raise KeyboardInterrupt(f"{name}: {outcome.signal} after step {outcome.step}")
    steps = list(metrics_log.read(folder / metrics_log.FILE_NAME))
    seconds = statistics.median(line["time/step"] for line in steps) * len(steps)
    curve = tuple(line["reward/accuracy"] for line in steps)
    return examine(setting, name, Trained(folder / MODEL, len(steps), seconds, curve), condition)


def imitate_and_examine(
    setting: Setting, name: str, first: Trained, condition: Condition, *, further: int | None = None
) -> Examined:
    """`imitate`, then `examine`."""
    return examine(setting, name, imitate(setting, name, first, condition, further=further), condition)


def imitate_and_reinforce(setting: Setting, name: str, first: Trained, condition: Condition) -> Examined:
    """A model of one condition throughout; only its end is examined."""
    return reinforce(setting, name, imitate(setting, name, first, condition), condition)


def examine(setting: Setting, name: str, trained: Trained, condition: Condition) -> Examined:
    """What a model can do."""
    _, params = weights.load(trained.directory)
    result, episodes = _examiner(setting.recipe, condition, setting.examples)(params)
    with titled(name):
        say(f"greedy {result.greedy.value:.3f}, sampled {result.sampled.value:.3f}")
    arm = Arm(condition, result, trained.steps, trained.seconds, trained.curve)
    return Examined(arm, tuple(episodes), time.time())


def _written(setting: Setting, name: str, params: Params) -> pathlib.Path:
    directory = setting.folder(name)
    directory.mkdir(parents=True, exist_ok=True)
    model.write_files(directory, setting.recipe.config, params, setting.recipe.images)
    return directory


@functools.cache
def _examiner(recipe: Recipe, condition: Condition, examples: int) -> Examiner:
    """One for all models that this process examines in a condition: it compiles once."""
    return Examiner(recipe, condition, examples)
