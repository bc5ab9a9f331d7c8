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
    exact = _map_position(point[0] + Fraction(1, 2), point[1] + Fraction(1, 2), source, target)
    return math.floor(exact[0]), math.floor(exact[1])


def map_box(box: tuple, source: Frame, target: Frame) -> ExactBox:
    """The box with its edges in the target's pixels, as exact fractions; not clamped.

    Half of a 100-pixel-wide original shown at 50 pixels: (0, 0, 50, 10) becomes (0, 0, 25, 5).
    """
    x0, y0, x1, y1 = box
    return *_map_position(x0, y0, source, target), *_map_position(x1, y1, source, target)


def round_box(box: tuple) -> Box:
    """Edges rounded to the nearest pixel border, halves upwards."""
    return tuple(math.floor(Fraction(edge) + Fraction(1, 2)) for edge in box)


def _map_position(x: Fraction, y: Fraction, source: Frame, target: Frame) -> tuple[Fraction, Fraction]:
    return (
        _map_axis(x, source.window[0], source.window[2], source.width, target.window[0], target.window[2], target.width),
        _map_axis(y, source.window[1], source.window[3], source.height, target.window[1], target.window[3], target.height),
    )  # fmt: skip


def _map_axis(value, source_low, source_high, source_size, target_low, target_high, target_size) -> Fraction:
    original = source_low + Fraction(value) * (source_high - source_low) / source_size
    return (original - target_low) * target_size / (target_high - target_low)


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
