"""How a tiny model is made from nothing: perception, then the teacher's dialogues, both by supervised learning."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from immutabledict import immutabledict

from vigorl_jax.processing.settings import ImageSettings
from vigorl_jax.qwen25vl.config import Config
from vigorl_jax.qwen25vl.model import Params
from vigorl_jax.reasoning.episode import Episode
from vigorl_jax.reasoning.prompts import Condition
from vigorl_jax.runs.tiny_world import lessons, model, sight
from vigorl_jax.runs.tiny_world.dialogues import Dialogues, scripted
from vigorl_jax.runs.tiny_world.exercises import Exercises
from vigorl_jax.tasks.glyph_levels import LEVEL_1, Level
from vigorl_jax.tasks.glyph_teacher import Aim
from vigorl_jax.training.learner import Learner, LearnerSettings
from vigorl_jax.training.optimiser import OptimiserSettings

OnStep = Callable[[int, Mapping[str, float]], None]


@dataclasses.dataclass(frozen=True)
class Sight:
    """Lessons of the tower alone: steps, with so many overviews and closer views each."""

    steps: int
    overviews: int = 48
    closer: int = 16


@dataclasses.dataclass(frozen=True)
class Words:
    """Exercises in words, with so many of each kind a step; see `Exercises`."""

    steps: int
    captions: int
    questions: int
    readings: int = 8
    schedule: str = "constant"


# A little worse than `glyph_teacher.BIASED`, whose imitation was right greedily 3 times in 4 and left little to be
# learned.
_AIM = Aim(shrink=0.66)


@dataclasses.dataclass(frozen=True)
class Imitation:
    """Steps of dialogues of the scripted teacher, who points so."""

    steps: int
    aim: Aim = _AIM


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a tiny model is made.

    Attributes:
      level: whose scenes are learned from.
      model: arguments of `model.config`.
      scenes: of which exercises are made.
      sight: first lessons, of the tower alone.
      words: exercises in words, one stage after the other, of the language model alone. Captions teach it which place a
        name means; questions, in the form of later dialogues, that this is wanted there too.
      perception_rate: learning rate of Muon, and of Adam for vectors and embeddings.
      imitation: stages of imitation one after the other, of the language model alone.
      conditions: in which the teacher's dialogues are held, by turns.
      dialogues: so many different ones, a multiple of `batch`, learned from again and again with their images encoded
        once; None for ever new ones.
      batch: dialogues of a step.
      comparisons: of two letters, in a step of dialogues; where questions want them, dialogues alone teach them slowly.
      slip_every: one of so many of the teacher's chains takes back a first look; `batch` is a multiple, so that all
        batches of the first level have one shape.
      imitation_rate: learning rate as above; it falls to 0 in each stage.
      row_length: tokens of a row of dialogues; two with one zoom fill it by default.
    """

    level: Level = LEVEL_1
    model: Mapping[str, int] = immutabledict()
    scenes: int = 1024
    sight: Sight = Sight(200)
    words: tuple[Words, ...] = (Words(220, 64, 0), Words(120, 24, 24, schedule="linear"))
    perception_rate: float = 1e-3
    imitation: tuple[Imitation, ...] = (Imitation(600),)
    conditions: tuple[Condition, ...] = (Condition.MULTITURN,)
    dialogues: int | None = 2160
    batch: int = 18
    comparisons: int = 0
    slip_every: int = 18
    imitation_rate: float = 2e-3
    row_length: int = 188

    @property
    def perception(self) -> int:
        """Steps before the first dialogue."""
        return self.sight.steps + sum(words.steps for words in self.words)

    @property
    def imitation_steps(self) -> int:
        """Steps of dialogues."""
        return sum(stage.steps for stage in self.imitation)

    @property
    def config(self) -> Config:
        """Of the model."""
        return model.config(**self.model)

    @property
    def images(self) -> ImageSettings:
        """Of the model."""
        return model.image_settings(self.level)


# Tokens of a row: three captions.
_EXERCISE_ROW = 96


def perceive(recipe: Recipe, seed: int, on_step: OnStep) -> Params:
    """Random weights taught where signs are and which letter a close view shows."""
    exercises = Exercises.draw(recipe.level, seed, recipe.scenes, model.tokenizer(), recipe.images)
    params = _learn_to_see(recipe, exercises, seed, on_step)
    done = recipe.sight.steps
    for words in recipe.words:
        rng = np.random.default_rng((seed, done))
        report = functools.partial(_behind, done, on_step)
        params = _learn_words(recipe, words, exercises, params, rng, report)
        done += words.steps
    return params


def _learn_to_see(recipe: Recipe, exercises: Exercises, seed: int, on_step: OnStep) -> Params:
    config, stage = recipe.config, recipe.sight
    rng = np.random.default_rng((seed, 0))

    def make(step: int) -> sight.Sights:
        return sight.look(*exercises.pictures(rng, stage.overviews, stage.closer), config, recipe.images)

    return sight.teach(
        model.first_params(config, seed), config, recipe.level, make, steps=stage.steps,
        settings=_muon(recipe.perception_rate, stage.steps, "cosine"), on_step=on_step,
    )  # fmt: skip


def _learn_words(
    recipe: Recipe,
    words: Words,
    exercises: Exercises,
    params: Params,
    rng: np.random.Generator,
    on_step: OnStep,
) -> Params:
    learner = _learner(recipe, _muon(recipe.perception_rate, words.steps, words.schedule))
    state = learner.init(params)
    album = lessons.Album.of(exercises.all_views(), learner, state, recipe.images)

    def make(step: int) -> Sequence[Episode]:
        return exercises.batch(
            rng, captions=words.captions, questions=words.questions, readings=words.readings
        )

    state = lessons.teach(
        learner, state, make, recipe.images, steps=words.steps, row_length=_EXERCISE_ROW, album=album,
        on_step=on_step,
    )  # fmt: skip
    return learner.params(state)


def imitate(
    recipe: Recipe,
    params: Params,
    seed: int,
    on_step: OnStep,
    *,
    stages: Sequence[Imitation] | None = None,
    conditions: Sequence[Condition] | None = None,
    first: int = 0,
) -> Params:
    """Parameters taught the scripted teacher's dialogues.

    Args:
      recipe: of the model, and of the teacher where the arguments do not say otherwise.
      params: not changed.
      seed: of the puzzles and of what the teacher does by chance.
      on_step: called after each step.
      stages, conditions: instead of those of the recipe.
      first: steps of dialogues that have been learned already.
    """
    done = 0
    for stage in stages or recipe.imitation:
        params = _imitate_stage(
            recipe, stage, params, seed, functools.partial(_behind, done, on_step),
            conditions or recipe.conditions, first + done,
        )  # fmt: skip
        done += stage.steps
    return params


def _behind(done: int, on_step: OnStep, step: int, metrics: Mapping[str, float]) -> None:
    """`on_step` of a stage that comes behind so many steps of the stages before it."""
    on_step(done + step, metrics)


def _imitate_stage(
    recipe: Recipe,
    stage: Imitation,
    params: Params,
    seed: int,
    on_step: OnStep,
    conditions: Sequence[Condition],
    first: int,
) -> Params:
    learner = _learner(recipe, _muon(recipe.imitation_rate, stage.steps, "linear"))
    state = learner.init(params)
    ask = _dialogues(recipe, stage, seed, conditions)
    exercises = Exercises.draw(recipe.level, seed, 1, model.tokenizer(), recipe.images)
    rng = np.random.default_rng((seed, first))
    album = None
    if recipe.dialogues is not None:
        held = [ask(number) for number in range(recipe.dialogues)]
        ask = held.__getitem__
        album = lessons.Album.of([*held, *exercises.all_views()], learner, state, recipe.images)

    def make(step: int) -> Sequence[Episode]:
        numbers = _numbers(recipe, seed, first + step)
        return [*map(ask, numbers), *(exercises.compare(rng) for _ in range(recipe.comparisons))]

    state = lessons.teach(
        learner, state, make, recipe.images, steps=stage.steps, row_length=recipe.row_length, album=album,
        on_step=on_step,
    )  # fmt: skip
    return learner.params(state)


def _dialogues(
    recipe: Recipe, stage: Imitation, seed: int, conditions: Sequence[Condition]
) -> Callable[[int], Episode]:
    """Dialogue number n of the teacher, in the conditions by turns."""
    teachers = [scripted(stage.aim, slips=float(place == 0)) for place in range(recipe.slip_every)]
    kinds = [
        Dialogues(recipe.level, seed, condition, teachers, model.tokenizer(), recipe.images)
        for condition in conditions
    ]
    return lambda number: kinds[number % len(kinds)][number]


def _numbers(recipe: Recipe, seed: int, step: int) -> Sequence[int]:
    """Of the dialogues of a step: all of them once, then all in another order; each keeps its place in a batch."""
    if recipe.dialogues is None:
        return range(step * recipe.batch, (step + 1) * recipe.batch)
    batches = recipe.dialogues // recipe.batch
    again, step = divmod(step, batches)
    numbers = np.arange(recipe.dialogues).reshape(batches, recipe.batch)
    return np.random.default_rng((seed, again)).permuted(numbers, axis=0)[step].tolist()


def _muon(rate: float, steps: int, schedule: str) -> OptimiserSettings:
    return OptimiserSettings(
        "muon", rate, schedule=schedule, total_steps=steps, warmup_steps=min(20, steps - 1), muon_rms=1.0,
        b2=0.98, weight_decay=0.0, max_grad_norm=None,
    )  # fmt: skip


def _learner(recipe: Recipe, settings: OptimiserSettings) -> Learner:
    """Of the language model: what the tower has learned is enough, and its embeddings are computed once."""
    return Learner(recipe.config, LearnerSettings(settings, frozen="vision"))
