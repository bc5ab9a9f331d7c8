"""How a tiny model is made from nothing: perception, then the teacher's dialogues, both by supervised learning."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from vigorl_jax.processing.settings import ImageSettings
from vigorl_jax.qwen25vl.config import Config
from vigorl_jax.qwen25vl.model import Params
from vigorl_jax.reasoning.episode import Episode
from vigorl_jax.reasoning.prompts import Condition
from vigorl_jax.runs.tiny_world import lessons, model
from vigorl_jax.runs.tiny_world.dialogues import Dialogues, scripted
from vigorl_jax.runs.tiny_world.exercises import Exercises
from vigorl_jax.tasks.glyph_levels import LEVEL_1, Level
from vigorl_jax.tasks.glyph_teacher import BIASED, Aim
from vigorl_jax.training.learner import Learner, LearnerSettings
from vigorl_jax.training.optimiser import OptimiserSettings

OnStep = Callable[[int, Mapping[str, float]], None]


@dataclasses.dataclass(frozen=True)
class Stretch:
    """Some steps of perception: batches of so many exercises of pointing and of reading."""

    steps: int
    pointing: int
    reading: int


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a tiny model is made.

    Attributes:
      level: whose scenes are learned from.
      model: arguments of `model.config`.
      scenes: of which exercises are made.
      perception: reading is learned first, in few steps, and pointing after it.
      perception_rate: learning rate of Muon, and of Adam for vectors and embeddings.
      aim: how the scripted teacher points.
      slip_every: one of so many of its chains takes back a first look; `batch` is a multiple, so that all batches have
        one shape.
      imitation: steps of `batch` dialogues.
      imitation_rate: learning rate of Muon, and of Adam for vectors and embeddings.
    """

    level: Level = LEVEL_1
    model: Mapping[str, int] = dataclasses.field(default_factory=dict)
    scenes: int = 1024
    perception: tuple[Stretch, ...] = (Stretch(75, 32, 48), Stretch(275, 64, 16))
    perception_rate: float = 1e-3
    aim: Aim = BIASED
    slip_every: int = 9
    imitation: int = 200
    batch: int = 36
    imitation_rate: float = 1e-3

    @property
    def config(self) -> Config:
        """Of the model."""
        return model.config(**self.model)

    @property
    def images(self) -> ImageSettings:
        """Of the model."""
        return model.image_settings(self.level)


# Tokens of a row: two exercises of pointing and one of reading, and two dialogues with one zoom.
_EXERCISE_ROW, _DIALOGUE_ROW = 128, 188


def perceive(recipe: Recipe, seed: int, on_step: OnStep) -> Params:
    """Random weights taught where signs are and which letter a close view shows."""
    tokenizer = model.tokenizer()
    exercises = Exercises.draw(recipe.level, seed, recipe.scenes, tokenizer, recipe.images)
    learner = _learner(
        recipe.config,
        OptimiserSettings("muon", recipe.perception_rate, warmup_steps=50, muon_rms=1.0, **_PLAIN),
    )
    state = learner.init(model.first_params(recipe.config, seed))
    done = 0
    for number, stretch in enumerate(recipe.perception):

        def make(step: int, number: int = number, stretch: Stretch = stretch) -> Sequence[Episode]:
            rng = np.random.default_rng((seed, number, step))
            return exercises.batch(rng, stretch.pointing, stretch.reading)

        state = lessons.teach(
            learner, state, make, recipe.images, steps=stretch.steps, row_length=_EXERCISE_ROW, first=done,
            on_step=on_step,
        )  # fmt: skip
        done += stretch.steps
    return learner.params(state)


def imitate(
    recipe: Recipe,
    params: Params,
    condition: Condition,
    seed: int,
    on_step: OnStep,
    *,
    steps: int,
    first: int = 0,
) -> Params:
    """Parameters taught the scripted teacher's dialogues, from dialogue number first * batch on."""
    teachers = [scripted(recipe.aim, slips=float(place == 0)) for place in range(recipe.slip_every)]
    dialogues = Dialogues(recipe.level, seed, condition, teachers, model.tokenizer(), recipe.images)
    learner = _learner(
        recipe.config,
        OptimiserSettings("muon", recipe.imitation_rate, warmup_steps=20, muon_rms=1.0, **_PLAIN),
    )

    def make(step: int) -> Sequence[Episode]:
        start = (first + step) * recipe.batch
        return [dialogues[index] for index in range(start, start + recipe.batch)]

    state = lessons.teach(
        learner,
        learner.init(params),
        make,
        recipe.images,
        steps=steps,
        row_length=_DIALOGUE_ROW,
        on_step=on_step,
    )
    return learner.params(state)


_PLAIN = {"b2": 0.98, "weight_decay": 0.0, "max_grad_norm": None}


def _learner(config: Config, optimiser: OptimiserSettings) -> Learner:
    return Learner(config, LearnerSettings(optimiser, frozen="nothing"))
