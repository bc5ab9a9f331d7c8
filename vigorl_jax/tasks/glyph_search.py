"""GlyphSearch, the generated default world: which letter is on the red circle? It takes a zoom to see it.

Coloured signs on a soft gradient, each with a letter that the overview cannot show (`glyph_drawing`), and questions
about them as in V*Bench (`glyph_questions`). Unlimited and without files: an example is made from a level, a seed
and a number.

What makes it learnable by a tiny model: each sign of the first level lies in one merged token of the overview, a
letter has one phase inside the patches of a zoom whose window begins at multiples of 28 pixels, and the gradient says
where in the image one looks.
"""

import dataclasses
import io
import operator
from typing import SupportsIndex

from PIL import Image

from vigorl_jax.tasks import answers, glyph_questions
from vigorl_jax.tasks.example import Example
from vigorl_jax.tasks.glyph_drawing import draw
from vigorl_jax.tasks.glyph_levels import Level
from vigorl_jax.tasks.glyph_questions import Puzzle
from vigorl_jax.tasks.task import Task, ZoomPreset

# 112 x 112 pixels of the original as they are: a resized letter would no longer be the checkerboard that it is.
ZOOM = ZoomPreset(offset=56, side=112, dot=False)

TASK = Task(
    name="glyph_search",
    reward_family="text",
    zoom=ZOOM,
    goal="answer a question about coloured signs, each of which shows one letter",
    inputs=(
        "The user gives an image of coloured shapes and a question about the letters on them.",
        "The letters are too small to be read in the image; a closer view shows them.",
    ),
    reasoning=("Find each sign by its colour and its shape, and take signs that look alike apart.",),
    answer_rules=(
        "The answer is one letter, two letters with a space between them in the order of the question, yes or no, "
        "or left or right.",
    ),
    right_answer="T",
    wrong_answer="The letter is a T",
    guidance=("If a closer view does not show the sign, look again before you answer.",),
    read=answers.read_text,
    accuracy=answers.text_accuracy,
)


def example(level: Level, seed: int, index: int) -> Example:
    """Example number `index` of a seed, with the original as PNG and the boxes of the signs asked about.

    Its metadata: level, seed, index, category (the kind of question) and targets (names of the signs).
    """
    return as_example(glyph_questions.pose(level, seed, index), seed, index)


def as_example(puzzle: Puzzle, seed: int, index: int) -> Example:
    """The Example of a puzzle that `glyph_questions.pose` made from this seed and number."""
    stream = io.BytesIO()
    # Level 1: larger files by half than the default, written several times as fast.
    Image.fromarray(draw(puzzle.scene)).save(stream, "PNG", compress_level=1)
    level = puzzle.scene.level.name
    return Example(
        id=f"{level}/{seed}/{index}",
        task=TASK.name,
        question=puzzle.question,
        answer=puzzle.answer,
        images=(stream.getvalue(),),
        boxes=tuple(sign.box for sign in puzzle.targets),
        metadata={
            "level": level,
            "seed": seed,
            "index": index,
            "category": puzzle.kind,
            "targets": ", ".join(sign.name for sign in puzzle.targets),
        },
    )


@dataclasses.dataclass(frozen=True)
class GlyphExamples:
    """Examples made when they are asked for, as a sequence with random access; safe in any thread or process.

    Attributes:
      level: Difficulty.
      seed: Number of the collection.
      count: How many there are.
      start: Number of the first, so that parts of one seed share nothing.
    """

    level: Level
    seed: int
    count: int
    start: int = 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: SupportsIndex) -> Example:
        place = operator.index(index)
        if not -self.count <= place < self.count:
            raise IndexError(f"{self!r} has no example {place}.")
        return example(self.level, self.seed, self.start + place % self.count)
