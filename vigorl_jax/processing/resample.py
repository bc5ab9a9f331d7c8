"""Pillow's 8-bit bicubic resize as integer tables, and its division into tiles of one static shape. NumPy only.

Pillow resizes each axis by a weighted sum of neighbouring pixels with weights rounded to 22 binary places, and rounds
to 8 bits after each axis. All of it is integer arithmetic, so the same sums give the same bytes on any device. Images
of any size run through one compiled program because the output is made tile by tile, and a tile's shapes depend on
how much the image shrinks, never on its size.
"""

import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import PIL

from vigorl_jax.buckets import bucket
from vigorl_jax.processing.frames import Box
from vigorl_jax.processing.settings import Grid

PRECISION = 22
MAX_EXTENT = 4096
# Patches on a tile's side: 112 pixels are small enough for the cache and large enough for vector loops.
TILE_PATCHES = 8

_UNUSED = 1 << 30  # index of a patch that no image has; writes there are dropped


def rows_first(size_in: tuple[int, int], size_out: tuple[int, int], pillow: str = PIL.__version__) -> bool:
    """Whether the installed Pillow resizes along the height before the width (sizes are height, width).

    Up to version 12 the width came first. In version 13 the height does where it shrinks, and by more than twice as
    many pixels as the width: 480 x 640 to 476 x 644. The results differ by rounding and where sharp edges overshoot;
    following the installed version keeps patches equal to those of transformers on the same machine.
    """
    shorter, narrower = (before - after for before, after in zip(size_in, size_out, strict=True))
    return int(pillow.split(".")[0]) >= 13 and shorter > max(0, 2 * narrower)


@functools.lru_cache(maxsize=256)
def bicubic_table(size_in: int, size_out: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each output pixel starts to read along one axis, and its weights in units of 2^-22.

    Returns:
      starts: int32 [size_out]; weights: int32 [size_out, taps]; read-only. Halving 4 pixels to 2 gives starts (0, 0)
      and rows of weights that sum to 2^22 up to rounding.
    """
    scale = size_in / size_out
    stretch = max(scale, 1.0)
    support = 2.0 * stretch
    centres = (np.arange(size_out) + 0.5) * scale
    low = np.maximum((centres - support + 0.5).astype(np.int64), 0)
    high = np.minimum((centres + support + 0.5).astype(np.int64), size_in)
    taps = np.arange((high - low).max())
    weights = _bicubic((taps + low[:, None] - centres[:, None] + 0.5) * (1.0 / stretch))
    weights = np.where(taps < (high - low)[:, None], weights, 0.0)
    # Added one by one, in Pillow's order: another order would change last bits and then, rarely, a weight.
    weights /= functools.reduce(np.add, weights.T)[:, None]
    weights = np.trunc(weights * (1 << PRECISION) + np.copysign(0.5, weights)).astype(np.int32)
    starts = low.astype(np.int32)
    starts.setflags(write=False)
    weights.setflags(write=False)
    return starts, weights


def _bicubic(x: np.ndarray, a: float = -0.5) -> np.ndarray:
    """Keys' cubic convolution kernel, equation 4 of "Cubic convolution interpolation" (1981), in Pillow's order."""
    x = np.abs(x)
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * a
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


@dataclasses.dataclass(frozen=True)
class TileShape:
    """All that a compiled resize depends on.

    Attributes:
      patch_size: Side of a patch, in pixels.
      eighths: Pixels read for eight written, at most; a bucket.
    """

    patch_size: int
    eighths: int

    @property
    def side(self) -> int:
        """Side of a tile, in output pixels."""
        return TILE_PATCHES * self.patch_size

    @property
    def taps(self) -> int:
        """Pixels that one output pixel reads along an axis."""
        return max(4, -(-self.eighths // 2))

    @property
    def extent(self) -> int:
        """Side of the square of pixels that a tile reads."""
        return -(-(self.side - 1) * self.eighths // 8) + self.taps + 1

    @property
    def batch(self) -> int:
        """Tiles resized by one call on the device: fewer where they read much, so that temporaries stay small."""
        return max(1, min(16, 2**20 // self.extent**2))


def tile_shape(size_in: tuple[int, int], size_out: tuple[int, int], patch_size: int) -> TileShape:
    """The shape for a resize between two sizes (height, width).

    Raises:
      ValueError: the image shrinks so much (about 35 times) that a tile would read more than MAX_EXTENT pixels.
    """
    eighths = max(-(-8 * before // after) for before, after in zip(size_in, size_out, strict=True))
    shape = TileShape(patch_size, bucket(eighths))
    if shape.extent > MAX_EXTENT:
        raise ValueError(
            f"resizing {size_in[1]} x {size_in[0]} to {size_out[1]} x {size_out[0]} pixels shrinks too much at once; "
            "reduce the image first or raise max_pixels"
        )
    return shape


@dataclasses.dataclass(frozen=True)
class Tiles:
    """Tiles to be cut from one image and resized; T = TileShape.side, N tiles.

    Attributes:
      window: Which of the windows to be resized the tile belongs to  # [N]
      left, top: The first pixel that the tile reads, in the image  # [N]
      column_starts, row_starts: First pixel read for each output column or row, from left or top  # [N, T]
      column_weights, row_weights: Their weights; zero outside of the output  # [N, T, taps]
      patch_index: Where each patch of the tile, raster by raster, goes in the output  # [N, TILE_PATCHES ** 2]
    """

    window: np.ndarray
    left: np.ndarray
    top: np.ndarray
    column_starts: np.ndarray
    column_weights: np.ndarray
    row_starts: np.ndarray
    row_weights: np.ndarray
    patch_index: np.ndarray

    @classmethod
    def join(cls, parts: Sequence["Tiles"]) -> "Tiles":
        """All tiles of the parts, in order."""
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def batches(self, size: int) -> Iterator["Tiles"]:
        """Consecutive groups of exactly `size` tiles, the last filled up with tiles that write nothing."""
        arrays = [getattr(self, field.name) for field in dataclasses.fields(self)]
        for start in range(0, len(self.left), size):
            group = [array[start : start + size] for array in arrays]
            missing = size - len(group[0])
            if missing:
                group = [np.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1)) for array in group]
                group[-1][-missing:] = _UNUSED
            # All different, because the device is promised that no two writes meet.
            distinct = _UNUSED + np.arange(group[-1].size, dtype=np.int32).reshape(group[-1].shape)
            group[-1] = np.where(group[-1] >= _UNUSED, distinct, group[-1])
            yield Tiles(*group)


def plan_tiles(number: int, window: Box, grid: Grid, shape: TileShape, merge_size: int) -> Tiles:
    """The tiles that resize one of several windows of an image to a grid of patches.

    Args:
      number: How many windows come before, each with as many patches.
      window: (x0, y0, x1, y1) in pixels of the image.
      grid: (1, h, w) of the output, in patches.
      shape: A shape for at least this much shrinking.
      merge_size: Side of the merge units in whose order the patches are written.
    """
    _, rows, columns = grid
    x0, y0, x1, y1 = window
    left, column_starts, column_weights = _axis_tiles(x1 - x0, columns, shape)
    top, row_starts, row_weights = _axis_tiles(y1 - y0, rows, shape)
    ty, tx = (axis.ravel() for axis in np.mgrid[: len(top), : len(left)])
    first_patch = np.int32(number * rows * columns)
    return Tiles(
        window=np.full(len(ty), number, np.int32),
        left=left[tx] + np.int32(x0),
        top=top[ty] + np.int32(y0),
        column_starts=column_starts[tx],
        column_weights=column_weights[tx],
        row_starts=row_starts[ty],
        row_weights=row_weights[ty],
        patch_index=_tile_patches(rows, columns, merge_size)[ty * len(left) + tx] + first_patch,
    )


@functools.lru_cache(maxsize=256)
def _axis_tiles(size_in: int, patches: int, shape: TileShape) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First pixel of each tile along an axis  # [n]; starts from there  # [n, T]; weights  # [n, T, taps]."""
    size_out = patches * shape.patch_size
    starts, weights = bicubic_table(size_in, size_out)
    weights = weights[:, : shape.taps]  # a tap more can come of rounding; its weight is then zero
    missing = -size_out % shape.side
    starts = np.pad(starts, (0, missing), mode="edge").reshape(-1, shape.side)
    weights = np.pad(weights, [(0, missing), (0, shape.taps - weights.shape[1])])
    return starts[:, 0], starts - starts[:, :1], weights.reshape(*starts.shape, shape.taps)


@functools.lru_cache(maxsize=256)
def _tile_patches(rows: int, columns: int, merge: int) -> np.ndarray:
    """Index of each patch of each tile in the order of merge units  # [tiles, TILE_PATCHES ** 2]."""
    full = [math.ceil(size / TILE_PATCHES) * TILE_PATCHES for size in (rows, columns)]
    index = np.full(full, _UNUSED, np.int32)
    index[:rows, :columns] = patch_order(rows, columns, merge)
    tiles = index.reshape(full[0] // TILE_PATCHES, TILE_PATCHES, full[1] // TILE_PATCHES, TILE_PATCHES)
    return np.ascontiguousarray(tiles.transpose(0, 2, 1, 3)).reshape(-1, TILE_PATCHES**2)


def patch_order(rows: int, columns: int, merge: int) -> np.ndarray:
    """Position of the patch at (row, column) among the patches, merge unit after merge unit  # int32 [rows, columns].

    With merge 2 the first row of a 2 x 4 grid holds 0, 1, 4, 5 and the second 2, 3, 6, 7.
    """
    row, column = np.mgrid[:rows, :columns]
    unit = (row // merge) * (columns // merge) + column // merge
    return (unit * merge**2 + row % merge * merge + column % merge).astype(np.int32)
