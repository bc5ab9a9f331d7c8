"""Questions about GlyphSearch scenes, as in V*Bench: the attribute of a named object, or a relation between two.

Kinds of questions, with the red circle showing T and the blue square H:

| kind | question | answer | options |
|---|---|---|---|
| letter | Which letter is on the red circle? | T | 6 |
| same | Do the red circle and the blue square show the same letter? | no | 2 |
| pair | Which letters are on the red circle and the blue square? | T H | 36 |
| side | Is the letter T left or right of the letter H? | left | 2 |

Options are equally often right, so guessing scores 1 / options. `side` does not name the signs: they must be found.
"""

import dataclasses
import itertools

import numpy as np

from vigorl_jax.tasks.glyph_levels import APART, LETTERS, Level
from vigorl_jax.tasks.glyph_scenes import Scene, Sign, draw_scene


@dataclasses.dataclass(frozen=True)
class Puzzle:
    """A scene and one question about it.

    Attributes:
      scene: What is shown.
      kind: One of `glyph_levels.KINDS`.
      question: The question as text.
      answer: The reference answer as text.
      targets: The signs whose letters decide the answer, in the order in which the question names them.
    """

    scene: Scene
    kind: str
    question: str
    answer: str
    targets: tuple[Sign, ...]


def options(kind: str) -> tuple[str, ...]:
    """Every answer that a question of this kind may have; all are equally likely.

    Raises:
      ValueError: there is no such kind.
    """
    match kind:
        case "letter":
            return tuple(LETTERS)
        case "same":
            return "yes", "no"
        case "pair":
            return tuple(" ".join(pair) for pair in itertools.product(LETTERS, repeat=2))
        case "side":
            return "left", "right"
    raise ValueError(f"Unknown kind of question {kind!r}; choose one of letter, same, pair, side.")


def pose(level: Level, seed: int, index: int) -> Puzzle:
    """Puzzle number `index` of a seed: the same on every machine, and independent of all others.

    Args:
      level: Difficulty.
      seed: Number of the collection, at least 0.
      index: Number of the puzzle, at least 0.
    """
    rng = np.random.default_rng((seed, index))
    kind = level.kinds[int(rng.integers(len(level.kinds)))]
    scene = draw_scene(level, rng)
    if kind == "letter":
        return _ask_letter(scene)
    if kind == "side":
        return _ask_side(scene, rng)
    other = int(rng.integers(1, len(scene.signs)))
    return _ask_same(scene, other, rng) if kind == "same" else _ask_pair(scene, other)


def _ask_letter(scene: Scene) -> Puzzle:
    sign = scene.signs[0]
    return Puzzle(scene, "letter", f"Which letter is on the {sign.name}?", sign.letter, (sign,))


def _ask_pair(scene: Scene, other: int) -> Puzzle:
    first, second = scene.signs[0], scene.signs[other]
    question = f"Which letters are on the {first.name} and the {second.name}?"
    return Puzzle(scene, "pair", question, f"{first.letter} {second.letter}", (first, second))


def _ask_same(scene: Scene, other: int, rng: np.random.Generator) -> Puzzle:
    """Changes the letter of the other sign, so that yes and no are equally likely."""
    place = LETTERS.index(scene.signs[0].letter)
    step = int(rng.integers(2)) and int(rng.integers(1, len(LETTERS)))
    scene = _relettered(scene, {other: LETTERS[(place + step) % len(LETTERS)]})
    first, second = scene.signs[0], scene.signs[other]
    question = f"Do the {first.name} and the {second.name} show the same letter?"
    return Puzzle(scene, "same", question, "no" if step else "yes", (first, second))


def _ask_side(scene: Scene, rng: np.random.Generator) -> Puzzle:
    """Gives two signs that are clearly side by side letters that no other sign has."""
    while not (pairs := _side_by_side(scene)):
        scene = draw_scene(scene.level, rng)
    chosen = pairs[int(rng.integers(len(pairs)))]
    order = rng.permutation(len(LETTERS)).tolist()
    rest = rng.integers(2, len(LETTERS), size=len(scene.signs)).tolist()
    letters = {place: LETTERS[order[rest[place]]] for place in range(len(scene.signs))}
    letters |= {place: LETTERS[order[number]] for number, place in enumerate(chosen)}
    scene = _relettered(scene, letters)
    first, second = (scene.signs[place] for place in chosen)
    question = f"Is the letter {first.letter} left or right of the letter {second.letter}?"
    answer = "left" if first.centre[0] < second.centre[0] else "right"
    return Puzzle(scene, "side", question, answer, (first, second))


def _side_by_side(scene: Scene) -> list[tuple[int, int]]:
    """Pairs of signs, in both orders, whose centres are at least `APART` from each other along x."""
    places = range(len(scene.signs))
    return [
        (a, b)
        for a, b in itertools.permutations(places, 2)
        if abs(scene.signs[a].centre[0] - scene.signs[b].centre[0]) >= APART
    ]


def _relettered(scene: Scene, letters: dict[int, str]) -> Scene:
    signs = (
        dataclasses.replace(sign, letter=letters.get(place, sign.letter))
        for place, sign in enumerate(scene.signs)
    )
    return dataclasses.replace(scene, signs=tuple(signs))
