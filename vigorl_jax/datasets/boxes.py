"""Boxes of the sources brought to one form: half-open corners (x0, y0, x1, y1) in original pixels.

The convention is a fact of the data set, stated in the catalog; it is never guessed from the numbers.
Original pixels are those of the image as it is shown, after its EXIF orientation, which is what
`processing.decode` returns.
"""

from collections.abc import Callable, Mapping, Sequence

from immutabledict import immutabledict

from vigorl_jax.datasets.refusals import RecordError

Box = tuple[float, float, float, float]
Size = tuple[int, int]

# Annotators round to whole pixels, so a border may be passed by less than one; anything beyond is an error.
_ROUNDING = 1.0


def corners(box: Sequence[float], size: Size) -> Box:
    """`[x0, y0, x1, y1]` in pixels, as it is."""
    x0, y0, x1, y1 = box
    return (x0, y0, x1, y1)


def corner_and_size(box: Sequence[float], size: Size) -> Box:
    """`[x, y, width, height]` in pixels: `[100, 50, 300, 80]` is (100, 50, 400, 130)."""
    x, y, width, height = box
    return (x, y, x + width, y + height)


def corner_shares(box: Sequence[float], size: Size) -> Box:
    """`[x0, y0, x1, y1]` as shares of the width and height, 0 to 1."""
    width, height = size
    x0, y0, x1, y1 = box
    return (x0 * width, y0 * height, x1 * width, y1 * height)


CONVENTIONS: Mapping[str, Callable[[Sequence[float], Size], Box]] = immutabledict(
    {
        "xyxy_shown": corners,
        "xyxy_pixels": corners,
        "xywh_pixels": corner_and_size,
        "xyxy_shares": corner_shares,
    }
)

# Conventions that state boxes in pixels as shown; all others mean stored pixels, before the EXIF orientation.
SHOWN = ("xyxy_shown",)


def oriented(box: Box, size: Size, orientation: int) -> Box:
    """A box of the stored pixels in the pixels as shown, for an EXIF orientation of 1 to 8.

    Sources state boxes in the pixels that a reader sees who ignores EXIF. With orientation 6 (turn right by
    90 degrees), the stored point (x, y) of a width x height image is shown at (height - y, x).

    Args:
      box: Corners in stored pixels.
      size: Stored (width, height).
      orientation: The EXIF value; 1 leaves the box as it is.
    """
    width, height = size
    x0, y0, x1, y1 = box
    if orientation in (2, 3, 7, 8):
        x0, x1 = width - x1, width - x0
    if orientation in (3, 4, 6, 7):
        y0, y1 = height - y1, height - y0
    return (y0, x0, y1, x1) if orientation in (5, 6, 7, 8) else (x0, y0, x1, y1)


def inside(box: Box, size: Size) -> Box:
    """The box, cut where it passes a border by rounding (at most one pixel).

    Raises:
      RecordError: `box_negative_size` without area, `box_outside_image` when it passes a border by more.
    """
    width, height = size
    x0, y0, x1, y1 = box
    if x0 >= x1 or y0 >= y1:
        raise RecordError("box_negative_size", f"{box} has no area: x0 < x1 and y0 < y1 are wanted.")
    if x0 < -_ROUNDING or y0 < -_ROUNDING or x1 > width + _ROUNDING or y1 > height + _ROUNDING:
        raise RecordError("box_outside_image", f"{box} leaves the image of {width} x {height} pixels.")
    cut = (max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height)))
    if cut[0] >= cut[2] or cut[1] >= cut[3]:
        raise RecordError("box_outside_image", f"{box} lies beside the image of {width} x {height} pixels.")
    return cut


def box_text(box: Box) -> str:
    """The box as an answer: `(10, 20, 30, 40.5)`; whole numbers without a point."""
    return (
        "(" + ", ".join(str(int(value)) if float(value).is_integer() else repr(value) for value in box) + ")"
    )
