"""Pixels of a GlyphSearch scene: a canvas and its overview, put together by NumPy from sprites drawn once.

The letters hide in detail that a reduction cannot keep. Their strokes are a checkerboard of single pixels, as bright
on average as the grey plate below them, less the small part of it that bicubic reduction by 4 would let through
(the projection onto the null space of that reduction). In the overview the plate is plain, whatever its letter; at
full resolution the letter is plain to see. A fine grain on the plate covers what rounding to 8 bits leaves.
"""

import functools

import numpy as np
from PIL import Image, ImageDraw

from vigorl_jax.processing.frames import Box
from vigorl_jax.processing.resample import PRECISION, bicubic_table
from vigorl_jax.tasks.glyph_levels import REDUCTION, SIGN, Size
from vigorl_jax.tasks.glyph_scenes import Scene, Sign

# 5 x 7 cells of 2 x 2 pixels: 10 x 14 pixels.
_FONT = {
    "L": ("#....", "#....", "#....", "#....", "#....", "#....", "#####"),
    "O": (".###.", "#...#", "#...#", "#...#", "#...#", "#...#", ".###."),
    "T": ("#####", "..#..", "..#..", "..#..", "..#..", "..#..", "..#.."),
    "X": ("#...#", "#...#", ".#.#.", "..#..", ".#.#.", "#...#", "#...#"),
    "Z": ("#####", "....#", "...#.", "..#..", ".#...", "#....", "#####"),
    "H": ("#...#", "#...#", "#...#", "#####", "#...#", "#...#", "#...#"),
}
_PAINT = {
    "red": (214, 48, 49),
    "green": (46, 160, 67),
    "blue": (52, 92, 224),
    "yellow": (238, 203, 44),
    "purple": (150, 70, 190),
    "orange": (240, 128, 30),
}
GREY = 128
CONTRAST = 108
GRAIN = 12
# Where the plate and the letter lie in a sign: (x0, y0, x1, y1). Strokes begin at even pixels of the canvas.
PLATE = (22, 20, 36, 38)
LETTER = (24, 22, 34, 36)
_SMOOTH = 8
# Bicubic reduction reads this many pixels of the original to each side of a pixel's own 4 x 4.
_REACH = 2 * REDUCTION


def draw(scene: Scene) -> np.ndarray:
    """The original, uint8 RGB [H, W, 3]."""
    return draw_window(scene, (0, 0, *scene.level.canvas))


def draw_window(scene: Scene, window: Box) -> np.ndarray:
    """A part of the original, uint8 RGB [y1 - y0, x1 - x0, 3]; a crop of 112 x 112 takes 20 times less than all.

    Args:
      scene: What to draw.
      window: (x0, y0, x1, y1) in pixels of the original, inside of it.
    """
    x0, y0, x1, y1 = window
    pixels = background(scene.level.canvas)[y0:y1, x0:x1].copy()
    for sign in scene.signs:
        left, top, right, bottom = sign.box
        if left < x1 and x0 < right and top < y1 and y0 < bottom:
            _paste(pixels, sign, (left - x0, top - y0))
    return pixels


def _paste(pixels: np.ndarray, sign: Sign, corner: tuple[int, int]) -> None:
    """Puts a sign over the pixels; parts beyond the edges are left out."""
    x, y = corner
    cut = slice(max(0, -y), pixels.shape[0] - y), slice(max(0, -x), pixels.shape[1] - x)
    paint, uncovered = _sprite(sign.colour, sign.shape)
    paint = paint.copy()
    x0, y0, x1, y1 = PLATE
    paint[y0:y1, x0:x1] = plate(sign.letter, sign.grain)
    region = pixels[max(0, y) : y + SIGN, max(0, x) : x + SIGN]
    # Divided by 255 and rounded, by shifts: many times as fast as a division.
    values = region * uncovered[cut] + paint[cut] + 128
    region[:] = (values + (values >> 8)) >> 8


def overview(scene: Scene) -> np.ndarray:
    """The original reduced by 4 as the model sees it (Pillow's bicubic), uint8 RGB [H / 4, W / 4, 3].

    Only the signs and what is around them are drawn and reduced; the bytes are those of the whole image, reduced.
    """
    reduced = _reduced_background(scene.level.canvas).copy()
    width, height = scene.level.canvas
    margin = _REACH + 2  # Boxes of signs begin 2 pixels beyond a multiple of 4.
    for sign in scene.signs:
        x0, y0 = (max(0, edge - margin) for edge in sign.box[:2])
        x1, y1 = min(width, sign.box[2] + margin), min(height, sign.box[3] + margin)
        left, top = max(0, x0 - _REACH), max(0, y0 - _REACH)
        read = left, top, min(width, x1 + _REACH), min(height, y1 + _REACH)
        part = Image.fromarray(draw_window(scene, read))
        size = (x1 - x0) // REDUCTION, (y1 - y0) // REDUCTION
        box = (x0 - left, y0 - top, x1 - left, y1 - top)
        x, y = x0 // REDUCTION, y0 // REDUCTION
        reduced[y : y + size[1], x : x + size[0]] = part.resize(size, Image.Resampling.BICUBIC, box)
    return reduced


@functools.lru_cache(maxsize=8)
def background(size: Size) -> np.ndarray:
    """A soft gradient around mid-grey: red rises by 100 from left to right, blue from top to bottom; read-only.

    It is what lets a model without absolute positions see where it is.
    """
    width, height = size
    canvas = np.full((height, width, 3), 110, np.uint8)
    canvas[..., 0] = np.rint(np.linspace(60, 160, width))
    canvas[..., 2] = np.rint(np.linspace(60, 160, height))[:, None]
    canvas.setflags(write=False)
    return canvas


@functools.lru_cache(maxsize=8)
def _reduced_background(size: Size) -> np.ndarray:
    small = (size[0] // REDUCTION, size[1] // REDUCTION)
    return np.asarray(Image.fromarray(background(size)).resize(small, Image.Resampling.BICUBIC))


@functools.cache
def _sprite(colour: str, shape: str) -> tuple[np.ndarray, np.ndarray]:
    """Paint times cover, and 255 - cover, for a cover from 0 to 255  # uint16 [56, 56, 3] both."""
    cover = np.repeat(_cover(shape).astype(np.uint16)[..., None], 3, axis=-1)
    return cover * np.asarray(_PAINT[colour], np.uint16), 255 - cover


def _cover(shape: str) -> np.ndarray:
    """The shape with smooth edges that touch all four sides, uint8 [56, 56]."""
    side = SIGN * _SMOOTH
    image = Image.new("L", (side, side))
    pen = ImageDraw.Draw(image)
    last, half = side - 1, side // 2
    match shape:
        case "circle":
            pen.ellipse((0, 0, last, last), fill=255)
        case "square":
            pen.rounded_rectangle((0, 0, last, last), radius=side // 10, fill=255)
        case "triangle":
            pen.polygon([(half - _SMOOTH, 0), (half + _SMOOTH, 0), (last, last), (0, last)], fill=255)
        case "diamond":
            nub = _SMOOTH
            pen.polygon(
                [
                    (half - nub, 0), (half + nub, 0), (last, half - nub), (last, half + nub),
                    (half + nub, last), (half - nub, last), (0, half + nub), (0, half - nub),
                ],
                fill=255,
            )  # fmt: skip
    return np.asarray(image.reduce(_SMOOTH))


@functools.cache
def plate(letter: str, grain: int) -> np.ndarray:
    """The grey plate with its letter and one of `GRAINS` grains, times 255  # uint16 [18, 14, 3].

    Without the grain its reduction by 4 is plain grey.
    """
    values = GREY + _hidden_strokes(letter)
    values += np.random.default_rng(grain).integers(-GRAIN, GRAIN + 1, values.shape)
    return np.repeat(255 * values.astype(np.uint16)[..., None], 3, axis=-1)


@functools.cache
def _hidden_strokes(letter: str) -> np.ndarray:
    return np.rint(_hidden(_strokes(letter))).astype(np.int64)


def _strokes(letter: str) -> np.ndarray:
    """The letter as a checkerboard of plus and minus `CONTRAST` on a plate of 0  # [18, 14]."""
    cells = np.array([[cell == "#" for cell in row] for row in _FONT[letter]])
    strokes = np.kron(cells, CONTRAST * np.array([[1, -1], [-1, 1]]))
    pattern = np.zeros((PLATE[3] - PLATE[1], PLATE[2] - PLATE[0]))
    x, y = LETTER[0] - PLATE[0], LETTER[1] - PLATE[1]
    pattern[y : y + strokes.shape[0], x : x + strokes.shape[1]] = strokes
    return pattern


def _hidden(pattern: np.ndarray) -> np.ndarray:
    """The pattern less the part that the reduction lets through: p - A+ A p, where A = rows x columns."""
    rows, columns = _reduction(PLATE[1], PLATE[3]), _reduction(PLATE[0], PLATE[2])
    seen = rows @ pattern @ columns.T
    return pattern - np.linalg.pinv(rows) @ seen @ np.linalg.pinv(columns).T


def _reduction(start: int, stop: int) -> np.ndarray:
    """Bicubic weights with which the overview reads the pixels `start` to `stop` of a sign, along one axis."""
    # The weights repeat every 4 pixels: any multiple of 4 may stand before a sign, plus the 2 of its box.
    lead = 16 * REDUCTION + 2
    length = 2 * lead + SIGN - REDUCTION
    starts, weights = bicubic_table(length, length // REDUCTION)
    matrix = np.zeros((len(starts), length + weights.shape[1]))
    for row, (first, values) in enumerate(zip(starts, weights, strict=True)):
        matrix[row, first : first + len(values)] = values / 2**PRECISION
    return matrix[:, lead + start : lead + stop]
