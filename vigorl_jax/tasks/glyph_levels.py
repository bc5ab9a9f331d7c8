"""How hard a GlyphSearch scene is: the levels, as frozen presets, and the measures that all of them share."""

import dataclasses

# All lengths in pixels of the original. The overview is the original reduced by REDUCTION, so that a CELL of the
# original is one merged token (28 x 28 pixels) of the overview.
REDUCTION = 4
TOKEN = 28
CELL = REDUCTION * TOKEN
SIGN = 56
# Centres are at least this far apart along one axis, so that no sign covers another.
APART = SIGN + TOKEN

LETTERS = "LOTXZH"
GRAINS = 256
COLOURS = ("red", "green", "blue", "yellow", "purple", "orange")
SHAPES = ("circle", "square", "triangle", "diamond")
KINDS = ("letter", "same", "pair", "side")

Size = tuple[int, int]
Range = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Level:
    """What is drawn by chance on a level, and what may be asked.

    Attributes:
      name: Name for ids and commands.
      canvas: (width, height) of the original, each a multiple of 112.
      signs: Fewest and most signs in a scene.
      distractors: Fewest and most signs that share the colour of the first sign asked about, not its shape.
      shapes: How many of `SHAPES` occur.
      lattice: 112 puts each sign into a cell of its own, wholly inside one merged token of the overview; 28 puts
        the centres of signs at 14 + 28 k, anywhere.
      kinds: Kinds of questions, equally often; of `KINDS`.

    Raises:
      ValueError: a value that no scene can satisfy.
    """

    name: str
    canvas: Size
    signs: Range
    distractors: Range = (0, 0)
    shapes: int = 3
    lattice: int = CELL
    kinds: tuple[str, ...] = ("letter",)

    def __post_init__(self) -> None:
        """Checks that every scene that can be drawn by chance exists."""
        if any(side < CELL or side % CELL for side in self.canvas):
            raise ValueError(f"Level {self.name!r}: canvas {self.canvas} must be multiples of {CELL}.")
        if self.lattice not in (CELL, TOKEN):
            raise ValueError(f"Level {self.name!r}: lattice {self.lattice} must be {CELL} or {TOKEN}.")
        if not self.kinds or not set(self.kinds) <= set(KINDS):
            raise ValueError(f"Level {self.name!r}: kinds {self.kinds} must be some of {', '.join(KINDS)}.")
        (fewest, most), (least, greatest) = self.signs, self.distractors
        if not 0 <= least <= greatest < self.shapes <= len(SHAPES):
            raise ValueError(
                f"Level {self.name!r}: distractors {self.distractors} must be a range below shapes={self.shapes}, "
                f"of which there are at most {len(SHAPES)}: a distractor has another shape."
            )
        others = (len(COLOURS) - 1) * self.shapes
        if not max(2, greatest + 1) <= fewest <= most <= min(self._places, others + least + 1):
            raise ValueError(
                f"Level {self.name!r}: signs {self.signs} must be a range from {max(2, greatest + 1)} to "
                f"{min(self._places, others + least + 1)}: the canvas and the names have no room for more."
            )

    @property
    def _places(self) -> int:
        """Signs that surely find a place, whatever the order in which they are put down."""
        width, height = self.canvas
        if self.lattice == CELL:
            return width * height // CELL**2
        # A sign blocks at most 5 x 5 centres of the lattice.
        return (width // TOKEN - 2) * (height // TOKEN - 2) // 25

    @property
    def overview(self) -> Size:
        """(width, height) of the reduced image that an episode begins with: (112, 112) for a canvas of 448 x 448.

        A model sees it so when `max_pixels` of its image settings is width * height; with more, it can read the
        letters without a zoom.
        """
        return self.canvas[0] // REDUCTION, self.canvas[1] // REDUCTION


LEVEL_1 = Level(name="level_1", canvas=(448, 448), signs=(3, 3))
LEVEL_2 = Level(
    name="level_2",
    canvas=(448, 448),
    signs=(3, 6),
    distractors=(1, 2),
    lattice=TOKEN,
    kinds=("letter", "same", "pair"),
)
LEVEL_3 = Level(
    name="level_3",
    canvas=(896, 896),
    signs=(5, 9),
    distractors=(1, 3),
    shapes=4,
    lattice=TOKEN,
    kinds=KINDS,
)
LEVEL_4K = Level(
    name="level_4k",
    canvas=(3808, 2128),
    signs=(12, 20),
    distractors=(2, 3),
    shapes=4,
    lattice=TOKEN,
    kinds=KINDS,
)
LEVELS = {level.name: level for level in (LEVEL_1, LEVEL_2, LEVEL_3, LEVEL_4K)}


def get(name: str) -> Level:
    """The level of this name. Raises ValueError with the names that exist."""
    if name not in LEVELS:
        raise ValueError(f"Unknown level {name!r}; choose one of {', '.join(LEVELS)}.")
    return LEVELS[name]
