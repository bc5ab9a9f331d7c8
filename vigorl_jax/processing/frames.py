"""Pixel coordinate systems - original image, model image, crop - and the exact maps between them.

Convention: pixel (x, y) is the unit square with corners (x, y) and (x + 1, y + 1), x right, y down, origin top-left.
An integer point names that pixel and is mapped through its centre (x + 1/2, y + 1/2); the edges of a box (x0, y0, x1,
y1), half-open, are positions and are simply scaled. A point therefore never leaves the image and comes back within
half a pixel of the coarser frame; the official code's x * factor is what `map_box` does to an edge.
"""

import dataclasses
import math
from fractions import Fraction

Point = tuple[int, int]
Box = tuple[int, int, int, int]
ExactBox = tuple[Fraction, Fraction, Fraction, Fraction]

MAX_ASPECT_RATIO = 200


@dataclasses.dataclass(frozen=True)
class Frame:
    """The pixels of a window of the original image, resized to width x height.

    Attributes:
      window: (x0, y0, x1, y1) in pixels of the original; it may reach outside of it.
      width: Pixels of this frame from left to right.
      height: Pixels of this frame from top to bottom.
    """

    window: Box
    width: int
    height: int

    def __post_init__(self) -> None:
        """Refuses windows and sizes without area."""
        x0, y0, x1, y1 = self.window
        if x1 <= x0 or y1 <= y0 or self.width < 1 or self.height < 1:
            raise ValueError(
                f"a frame of window {self.window} and size {self.width} x {self.height} has no pixels; "
                "give x0 < x1, y0 < y1 and sizes of at least 1"
            )

    @classmethod
    def original(cls, width: int, height: int) -> "Frame":
        """The frame of an original image; original(640, 480) has the window (0, 0, 640, 480)."""
        return cls((0, 0, width, height), width, height)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)."""
        return self.width, self.height

    def resized(self, width: int, height: int) -> "Frame":
        """The same window at another resolution, such as the model's."""
        return Frame(self.window, width, height)

    def contains(self, point: Point) -> bool:
        """Whether the point is one of this frame's pixels."""
        return 0 <= point[0] < self.width and 0 <= point[1] < self.height

    def clamp(self, point: Point) -> Point:
        """The pixel of this frame nearest to the point."""
        return min(max(point[0], 0), self.width - 1), min(max(point[1], 0), self.height - 1)

    def clamp_box(self, box: Box) -> Box:
        """The part of a box inside this frame; without area where there is none."""
        x0, y0, x1, y1 = box
        return (
            min(max(x0, 0), self.width), min(max(y0, 0), self.height),
            min(max(x1, 0), self.width), min(max(y1, 0), self.height),
        )  # fmt: skip


def map_point(point: Point, source: Frame, target: Frame) -> Point:
    """The pixel of `target` that holds the centre of the source's pixel; exact, not clamped.

    With original = Frame.original(1920, 1080) and model = original.resized(1932, 1092), (1919, 540) of the original is
    (1931, 546) of the model, and back. A crop returns pixels outside of itself for points that it does not show.
    """
    x, y = (_map_axis(value + Fraction(1, 2), axis, source, target) for axis, value in enumerate(point))
    return math.floor(x), math.floor(y)


def map_box(box: tuple, source: Frame, target: Frame) -> ExactBox:
    """The box with its edges in the target's pixels, as exact fractions; not clamped.

    From an original of 100 x 20 pixels to a model that sees it at 50 x 10, (0, 0, 50, 10) becomes (0, 0, 25, 5).
    """
    return tuple(_map_axis(edge, index % 2, source, target) for index, edge in enumerate(box))


def round_box(box: tuple) -> Box:
    """Edges rounded to the nearest pixel border, halves upwards."""
    return tuple(math.floor(Fraction(edge) + Fraction(1, 2)) for edge in box)


def _map_axis(value: Fraction | int, axis: int, source: Frame, target: Frame) -> Fraction:
    """Maps a position on axis 0 (x) or 1 (y)."""
    low, high = source.window[axis], source.window[axis + 2]
    original = low + Fraction(value) * (high - low) / source.size[axis]
    low, high = target.window[axis], target.window[axis + 2]
    return (original - low) * target.size[axis] / (high - low)


def smart_resize(height: int, width: int, *, unit: int, min_pixels: int, max_pixels: int) -> tuple[int, int]:
    """The size (height, width) at which Qwen2.5-VL looks at an image: whole units, area within limits, shape kept.

    Each side is rounded to a multiple of `unit` (halves to the even multiple); if the area is then above `max_pixels`
    or below `min_pixels`, both sides are scaled by one factor and rounded down or up instead. With unit 28:
    1080 x 1920 becomes 1092 x 1932; at no more than 2,850,000 pixels 2160 x 3840 becomes 1260 x 2240.

    Raises:
      ValueError: a side is shorter than a unit, or one side is over 200 times the other.
    """
    if min(height, width) < unit:
        raise ValueError(f"an image of {width} x {height} pixels has a side under {unit}; enlarge it first")
    if max(height, width) > MAX_ASPECT_RATIO * min(height, width):
        raise ValueError(
            f"an image of {width} x {height} pixels is more than {MAX_ASPECT_RATIO} times longer than wide; cut it"
        )
    rounded = round_to_unit(height, unit), round_to_unit(width, unit)
    if rounded[0] * rounded[1] > max_pixels:
        shrink = math.sqrt((height * width) / max_pixels)
        return tuple(max(unit, math.floor(side / shrink / unit) * unit) for side in (height, width))
    if rounded[0] * rounded[1] < min_pixels:
        grow = math.sqrt(min_pixels / (height * width))
        return tuple(math.ceil(side * grow / unit) * unit for side in (height, width))
    return rounded


def round_to_unit(side: int, unit: int) -> int:
    """The multiple of `unit` nearest to a side, halves to the even multiple: with 28, 384 -> 392 and 512 -> 504."""
    return round(side / unit) * unit
