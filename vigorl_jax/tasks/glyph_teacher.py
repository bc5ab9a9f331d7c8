"""The scripted teacher of GlyphSearch: chains of thoughts that are right in all but where they point.

The teacher's points are biased: shrunk to the middle of the image, with normal noise (`Aim`). A model that imitates
it inherits the bias; reinforcement learning can remove it. Answers are right whether or not a zoom at the point shows
the sign, so reading is taught well and pointing badly.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from vigorl_jax.tasks.chain import Chain, Point, Thought
from vigorl_jax.tasks.glyph_levels import REDUCTION, Level
from vigorl_jax.tasks.glyph_questions import Puzzle
from vigorl_jax.tasks.glyph_scenes import Sign

# A zoom less than 10 pixels from an earlier one is refused as a repeat.
_APART = 10
_TRIES = 1000


@dataclasses.dataclass(frozen=True)
class Aim:
    """How the teacher points, in pixels of the overview.

    A sign at p is pointed at as c + shrink (p - c) + noise, where c is the middle of the overview: with a shrink of
    0.7, (96, 16) of 112 x 112 becomes (84, 28) on average, which is 48 pixels of the original off along each axis: on
    the first level a zoom shows the sign's letter 6 times in 10. On larger levels use a shrink of 0.9 or more.

    Attributes:
      shrink: 1 points at the sign, 0 at the middle of the image.
      spread: Standard deviation of the noise along each axis.
    """

    shrink: float = 0.7
    spread: float = 4.0

    def point(self, sign: Sign, level: Level, earlier: Sequence[Point], rng: np.random.Generator) -> Point:
        """A point inside the overview, at least 10 pixels from all earlier ones; drawn again until it is.

        Raises:
          ValueError: no such point turns up.
        """
        middle = np.array(level.overview) / 2
        target = middle + self.shrink * (np.array(sign.centre) / REDUCTION - middle)
        for _ in range(_TRIES):
            x, y = np.floor(target + self.spread * rng.standard_normal(2)).astype(int).tolist()
            x, y = min(max(x, 0), level.overview[0] - 1), min(max(y, 0), level.overview[1] - 1)
            if all(math.dist((x, y), other) >= _APART for other in earlier):
                return x, y
        raise ValueError(
            f"{self} finds no point for the {sign.name} that is {_APART} pixels from {list(earlier)}; use a greater "
            "shrink or spread."
        )


BIASED = Aim()


def direct(puzzle: Puzzle, rng: np.random.Generator, aim: Aim = BIASED) -> Chain:
    """One look at each sign that the question names; for `side`, looks in random order until both letters are found.

    "The red circle is at (31, 77)." - "The red circle shows T. The blue square is at (60, 20)." - "The blue square
    shows H." - `T H`.
    """
    return _chain(puzzle, _direct_order(puzzle, rng), rng, aim)


def self_correcting(puzzle: Puzzle, rng: np.random.Generator, aim: Aim = BIASED) -> Chain:
    """As `direct`, but the first look is at a wrong sign, of the right colour if there is one, and is taken back.

    "The red circle is at (9, 50)." - "This is the red square. Wait, the red circle is at (31, 77)." and so on. A
    `side` question, or a scene without other signs, gives what `direct` gives.
    """
    order = _direct_order(puzzle, rng)
    others = [sign for sign in puzzle.scene.signs if sign not in puzzle.targets]
    if puzzle.kind == "side" or not others:
        return _chain(puzzle, order, rng, aim)
    alike = [sign for sign in others if sign.colour == order[0].colour] or others
    return _chain(puzzle, [alike[int(rng.integers(len(alike)))], *order], rng, aim)


def _direct_order(puzzle: Puzzle, rng: np.random.Generator) -> list[Sign]:
    if puzzle.kind != "side":
        return list(puzzle.targets)
    signs = [puzzle.scene.signs[place] for place in rng.permutation(len(puzzle.scene.signs)).tolist()]
    return signs[: 1 + max(signs.index(target) for target in puzzle.targets)]


def _chain(puzzle: Puzzle, order: Sequence[Sign], rng: np.random.Generator, aim: Aim) -> Chain:
    """Looks at the signs in this order; one that the question does not ask about is taken for the next one."""
    points: list[Point] = []
    for sign in order:
        points.append(aim.point(sign, puzzle.scene.level, points, rng))
    is_slip = [puzzle.kind != "side" and sign not in puzzle.targets for sign in order]
    meant = [order[place + slip].name for place, slip in enumerate(is_slip)]
    texts = [f"The {meant[0]} is at {points[0]}."]
    for place, before in enumerate(order[:-1]):
        seen = f"This is the {before.name}. Wait, the" if is_slip[place] else f"{_reading(before)}. The"
        texts.append(f"{seen} {meant[place + 1]} is at {points[place + 1]}.")
    thoughts = (Thought(text, point) for text, point in zip(texts, points, strict=True))
    return Chain(tuple(thoughts), _conclusion(puzzle, order[-1]), puzzle.answer)


def _conclusion(puzzle: Puzzle, last: Sign) -> str:
    match puzzle.kind:
        case "same":
            return f"{_reading(last)}: {'the same' if puzzle.answer == 'yes' else 'another'} letter."
        case "side":
            first, second = puzzle.targets
            return f"{_reading(last)}. The {first.name} is {puzzle.answer} of the {second.name}."
    return f"{_reading(last)}."


def _reading(sign: Sign) -> str:
    return f"The {sign.name} shows {sign.letter}"
