"""Dialogues of the scripted teacher as episodes to be imitated, in each condition."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from vigorl_jax.processing import chat
from vigorl_jax.processing.settings import ImageSettings
from vigorl_jax.processing.tokenizer import Tokenizer
from vigorl_jax.reasoning import chains
from vigorl_jax.reasoning.dialogue import Limits, Rules, open_dialogue
from vigorl_jax.reasoning.episode import Episode
from vigorl_jax.reasoning.prompts import Condition
from vigorl_jax.reasoning.turns import Zoom
from vigorl_jax.runs.tiny_world import lexicon, views
from vigorl_jax.tasks import glyph_teacher
from vigorl_jax.tasks.chain import Chain
from vigorl_jax.tasks.example import Example
from vigorl_jax.tasks.glyph_levels import LEVEL_1, Level
from vigorl_jax.tasks.glyph_questions import Puzzle, pose
from vigorl_jax.tasks.glyph_search import TASK
from vigorl_jax.tasks.glyph_teacher import Aim

# Tokens of a dialogue with one zoom, and of each further zoom, both with some to spare.
_ONE_ZOOM, _ZOOM = 96, 56
# Of a row of the learner: two dialogues of one zoom, or the longest.
_ROW = 2 * _ONE_ZOOM
# Sampled tokens of a row, those of malformed episodes included.
ROW_TARGETS = 112
_TURN_TOKENS = {Condition.MULTITURN: 36, Condition.GROUNDED: 64, Condition.VANILLA: 40, Condition.BASE: 8}
# Signs to be looked at, by kind of question; where it does not name them, it may be all of the scene.
_LOOKS = {"letter": 1, "same": 2, "pair": 2}
_NO_FILE = b"-"  # The views are made already; nobody opens the image of a dialogue that is imitated.

# Whoever thinks: the scripted teacher, or what a tree search has found for the puzzle.
Teacher = Callable[[Puzzle, np.random.Generator], Chain]


def limits(condition: Condition, level: Level = LEVEL_1) -> Limits:
    """Room for the teacher's dialogues on a level, one slip included; the first malformed turn ends an episode.

    A model that imitates knows no sentence that answers a malformed turn, and what it says then teaches nothing.
    """
    zooms = 0
    if condition is Condition.MULTITURN:
        zooms = max(_LOOKS.get(kind, level.signs[1]) for kind in level.kinds) + 1
    return Limits(
        max_turns=zooms + 1,
        max_zooms=zooms,
        max_turn_tokens=_TURN_TOKENS[condition],
        max_tokens=_ONE_ZOOM + _ZOOM * max(1, zooms - 1),
        max_malformed=0,
    )


def row_length(held: Limits) -> int:
    """Tokens of the rows into which dialogues are packed for the learner."""
    return max(_ROW, held.max_tokens)


def rules(condition: Condition, level: Level = LEVEL_1) -> Rules:
    """How the tiny model holds episodes: short prompts, and no answer is forced."""
    return Rules(lexicon.SYSTEMS[condition], condition, limits=limits(condition, level), forces_answer=False)


def scripted(aim: Aim = glyph_teacher.BIASED, slips: float = 0.2) -> Teacher:
    """The scripted teacher, which takes back a first look at a wrong sign in this share of its chains."""

    def think(puzzle: Puzzle, rng: np.random.Generator) -> Chain:
        write = glyph_teacher.self_correcting if rng.random() < slips else glyph_teacher.direct
        return write(puzzle, rng, aim)

    return think


@dataclasses.dataclass(frozen=True)
class Dialogues:
    """Dialogues on ever new puzzles of a level.

    Attributes:
      level, seed: Where puzzles come from.
      condition: How they are solved.
      teachers: Who solves them, by turns.
      tokenizer, settings: Of the model.
    """

    level: Level
    seed: int
    condition: Condition
    teachers: Sequence[Teacher]
    tokenizer: Tokenizer
    settings: ImageSettings

    def __getitem__(self, index: int) -> Episode:
        """Dialogue number `index` of the seed: the same whenever it is asked for."""
        puzzle = pose(self.level, self.seed, index)
        teacher = self.teachers[index % len(self.teachers)]
        chain = teacher(puzzle, np.random.default_rng((self.seed, index, 1)))
        return imitate(
            puzzle,
            chains.write_replies(chain, self.condition),
            rules(self.condition, self.level),
            self.tokenizer,
            self.settings,
        )


def imitate(
    puzzle: Puzzle, texts: Sequence[str], held: Rules, tokenizer: Tokenizer, settings: ImageSettings
) -> Episode:
    """The episode in which the assistant writes these turns, with the views that its zooms bring."""
    example = Example("imitated", TASK.name, puzzle.question, puzzle.answer, (_NO_FILE,))
    dialogue = open_dialogue(example, [views.overview(puzzle.scene, settings)], tokenizer, held)
    for text in texts:
        action = dialogue.add_turn(chat.assistant_target(tokenizer, text))
        if isinstance(action, Zoom):
            dialogue.observe(views.zoom(puzzle.scene, action.point, settings))
    return dialogue.finish()
