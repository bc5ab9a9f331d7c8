"""What stands where in a GlyphSearch scene: signs of a colour and a shape, each with a letter; drawn by chance."""

import dataclasses

import numpy as np

from vigorl_jax.processing.frames import Box
from vigorl_jax.tasks.glyph_levels import APART, CELL, COLOURS, GRAINS, LETTERS, SHAPES, SIGN, TOKEN, Level

Centre = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Sign:
    """One coloured shape with its letter.

    Attributes:
      colour: One of `COLOURS`.
      shape: One of `SHAPES`.
      letter: One of `LETTERS`.
      centre: (x, y) in pixels of the original: the corner shared by the four middle pixels.
      grain: Which of `GRAINS` patterns of noise its plate has.
    """

    colour: str
    shape: str
    letter: str
    centre: Centre
    grain: int = 0

    @property
    def name(self) -> str:
        """What questions call it: `red circle`."""
        return f"{self.colour} {self.shape}"

    @property
    def box(self) -> Box:
        """(x0, y0, x1, y1), half-open, in pixels of the original: all of its pixels and no further row."""
        x, y = self.centre
        half = SIGN // 2
        return x - half, y - half, x + half, y + half


@dataclasses.dataclass(frozen=True)
class Scene:
    """All signs of one image; no two share a name. The first is asked about, its distractors follow it.

    Attributes:
      level: Where it was drawn from.
      signs: The signs.
    """

    level: Level
    signs: tuple[Sign, ...]


def draw_scene(level: Level, rng: np.random.Generator) -> Scene:
    """A scene drawn by chance: number, colours, shapes and letters are uniform within the level."""
    number = int(rng.integers(level.signs[0], level.signs[1] + 1))
    names = _names(level, number, rng)
    letters = rng.integers(len(LETTERS), size=number).tolist()
    grains = rng.integers(GRAINS, size=number).tolist()
    centres = _in_cells(level, number, rng) if level.lattice == CELL else _on_lattice(level, number, rng)
    signs = (
        Sign(colour, shape, LETTERS[letter], centre, grain)
        for (colour, shape), letter, centre, grain in zip(names, letters, centres, grains, strict=True)
    )
    return Scene(level, tuple(signs))


def _names(level: Level, number: int, rng: np.random.Generator) -> list[tuple[str, str]]:
    """Colour and shape of each sign: the first, its distractors, then other colours, all before one comes again."""
    colours = rng.permutation(len(COLOURS)).tolist()
    turns = rng.permutation(level.shapes).tolist(), rng.integers(level.shapes, size=len(COLOURS)).tolist()
    extra = int(rng.integers(level.distractors[0], level.distractors[1] + 1))
    chosen = [(colours[0], shape) for shape in turns[0][: 1 + extra]]
    for place in range(number - len(chosen)):
        lap, colour = divmod(place, len(COLOURS) - 1)
        chosen.append((colours[1 + colour], (turns[1][colour] + lap) % level.shapes))
    return [(COLOURS[colour], SHAPES[shape]) for colour, shape in chosen]


def _in_cells(level: Level, number: int, rng: np.random.Generator) -> list[Centre]:
    """Centres 42 or 70 pixels into cells of 112, one sign a cell."""
    columns = level.canvas[0] // CELL
    cells = rng.permutation(columns * (level.canvas[1] // CELL))[:number].tolist()
    inside = rng.integers(2, size=(number, 2)).tolist()
    return [
        (cell % columns * CELL + 42 + TOKEN * right, cell // columns * CELL + 42 + TOKEN * down)
        for cell, (right, down) in zip(cells, inside, strict=True)
    ]


def _on_lattice(level: Level, number: int, rng: np.random.Generator) -> list[Centre]:
    """Centres at 14 + 28 k, at least `APART` from each other along an axis, each uniform over what is left."""
    columns, rows = (side // TOKEN - 2 for side in level.canvas)
    centres: list[Centre] = []
    while len(centres) < number:
        place = int(rng.integers(columns * rows))
        x, y = 42 + TOKEN * (place % columns), 42 + TOKEN * (place // columns)
        if all(max(abs(x - u), abs(y - v)) >= APART for u, v in centres):
            centres.append((x, y))
    return centres
