"""From an image on the device to patches: whole, or any windows of it at another size, in a few compiled programs.

The stages are compiled one by one on purpose: fused into one program, XLA for CPU computes the resize through the
transposes in between, many times slower.
"""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, UInt8

from vigorl_jax.array_typing import Array, typed
from vigorl_jax.buckets import bucket
from vigorl_jax.processing.frames import Box, Point, round_to_unit
from vigorl_jax.processing.patches import Patches, place_patches
from vigorl_jax.processing.resample import (
    MAX_EXTENT,
    PRECISION,
    Tiles,
    TileShape,
    plan_tiles,
    rows_first,
    tile_shape,
)
from vigorl_jax.processing.settings import Grid, ImageSettings

DOT_RADIUS = 7
DOT_OUTLINE = 2

# Bytes before and behind the pixels: without them XLA would move a slice that starts or ends outside.
_MARGIN = 3 * MAX_EXTENT

Count = Int[Array, ""]
PerTile = Int[Array, "N"]
Lines = UInt8[Array, "N _lines 3 _across"]  # the columns or the rows of tiles


@dataclasses.dataclass(frozen=True)
class DeviceImage:
    """An image that stays on the device while windows are cut from it.

    Attributes:
      pixels: RGB bytes row after row between margins, padded to a bucket: one axis, so that few lengths serve images
        of every width and height  # uint8 [bytes]
      height: In pixels.
      width: In pixels.
    """

    pixels: UInt8[Array, "_bytes"]
    height: int
    width: int


def to_device(image: np.ndarray) -> DeviceImage:
    """Sends an image, uint8 RGB [H, W, 3], to the default device.

    Where originals are too many for the device, send the window alone, to_device(image[y0:y1, x0:x1]), and crop all of
    it: the window is then (0, 0, x1 - x0, y1 - y0) and a dot (x - x0, y - y0).
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(
            f"an image is uint8 [H, W, 3], got {image.dtype} {list(image.shape)}; see processing.decode"
        )
    flat = np.zeros(bucket(image.size + 2 * _MARGIN), np.uint8)
    flat[_MARGIN : _MARGIN + image.size] = image.reshape(-1)
    return DeviceImage(jax.device_put(flat), image.shape[0], image.shape[1])


def image_patches(image: DeviceImage, settings: ImageSettings) -> Patches:
    """The whole image as the model sees it: sized by `smart_resize`, equal to Pillow's bicubic resize byte for byte.

    A 150 x 205 image has the grid (1, 10, 14): 140 patches of 588 bytes, in 160 rows.

    Raises:
      ValueError: the image is too small, too long or has to shrink too much; see `smart_resize` and `tile_shape`.
    """
    frame = settings.model_frame(image.width, image.height)
    shape = tile_shape((image.height, image.width), (frame.height, frame.width), settings.patch_size)
    return _resize(image, [frame.window], settings.grid(frame), shape, settings, None)


def crop_patches(
    image: DeviceImage,
    windows: Sequence[Box],
    *,
    side: int,
    largest: int,
    settings: ImageSettings,
    dots: Sequence[Point] | None = None,
) -> Patches:
    """Windows of the image, each resized to a square, equal to Pillow's crop and bicubic resize byte for byte.

    Only the windows are read. One set of programs serves every window, image size and number of windows of a preset.

    Args:
      image: The original.
      windows: (x0, y0, x1, y1) in pixels of the image; what reaches outside of it is black, as in Pillow's crop.
      side: Of the square, in pixels, rounded to whole units: 384 gives 392 and 784 patches a crop.
      largest: Greatest side of any window of the preset: 2 * offset. It alone (with side) decides what is compiled.
      settings: The model's.
      dots: For each window a point of the image that a dot marks, drawn before the resize and only inside the window:
        red with a white outline, as Pillow's ellipse of DOT_RADIUS and DOT_OUTLINE.

    Returns:
      The patches of all crops, in the order of the windows.

    Raises:
      ValueError: no windows, one without area or longer than `largest`, or as many dots as windows are not given.
    """
    _check_windows(windows, largest, dots)
    square = round_to_unit(side, settings.unit)
    if square < 1:
        raise ValueError(f"a crop of side {side} is under one unit; give at least {settings.unit}")
    shape = tile_shape((largest, largest), (square, square), settings.patch_size)
    grid = (1, square // settings.patch_size, square // settings.patch_size)
    return _resize(image, windows, grid, shape, settings, dots)


def _check_windows(windows: Sequence[Box], largest: int, dots: Sequence[Point] | None) -> None:
    if not windows:
        raise ValueError("crop_patches of no windows; skip the call")
    for x0, y0, x1, y1 in windows:
        if not (0 < x1 - x0 <= largest and 0 < y1 - y0 <= largest):
            raise ValueError(
                f"window {(x0, y0, x1, y1)} must have sides of 1 to {largest} pixels; clamp it or raise largest"
            )
    if dots is not None and len(dots) != len(windows):
        raise ValueError(f"{len(dots)} dots for {len(windows)} windows; give one for each")


def _resize(
    image: DeviceImage,
    windows: Sequence[Box],
    grid: Grid,
    shape: TileShape,
    settings: ImageSettings,
    dots: Sequence[Point] | None,
) -> Patches:
    patches = grid[1] * grid[2]
    size_out = grid[1] * settings.patch_size, grid[2] * settings.patch_size
    orders: dict[bool, list[Tiles]] = {}
    for number, window in enumerate(windows):
        order = rows_first((window[3] - window[1], window[2] - window[0]), size_out)
        orders.setdefault(order, []).append(plan_tiles(number, window, grid, shape, settings.merge_size))
    pixels = jnp.zeros((bucket(len(windows) * patches), 3 * settings.patch_size**2), jnp.uint8)
    for order, plans in orders.items():
        resample = _resample_rows_first if order else _resample_columns_first
        for tiles in Tiles.join(plans).batches(shape.batch):
            resized = resample(_read_tiles(image, tiles, shape.extent, dots), tiles)
            pieces = _to_patches(resized, patch_size=settings.patch_size)
            pixels = place_patches(pixels, pieces, tiles.patch_index)
    return Patches(pixels, (grid,) * len(windows))


def _read_tiles(image: DeviceImage, tiles: Tiles, extent: int, dots: Sequence[Point] | None) -> Lines:
    size = image.height, image.width
    rows = _read(image.pixels, *size, tiles.left, tiles.top, extent=extent)
    columns = _to_columns(rows, *size, tiles.left, tiles.top)
    if dots is None:
        return columns
    x, y = np.asarray(dots, np.int32)[tiles.window].T
    return _mark(columns, x - tiles.left, y - tiles.top)


def _resample_columns_first(columns: Lines, tiles: Tiles) -> Lines:
    """From the columns of each tile to the rows of the resized tile."""
    rows = _turn(_resample(columns, tiles.column_starts, tiles.column_weights))
    return _resample(rows, tiles.row_starts, tiles.row_weights)


def _resample_rows_first(columns: Lines, tiles: Tiles) -> Lines:
    columns = _turn(_resample(_turn(columns), tiles.row_starts, tiles.row_weights))
    return _turn(_resample(columns, tiles.column_starts, tiles.column_weights))


@functools.partial(jax.jit, static_argnames="extent")
@typed
def _read(
    pixels: UInt8[Array, "_bytes"],
    height: int | Count,
    width: int | Count,
    left: PerTile,
    top: PerTile,
    *,
    extent: int,
) -> UInt8[Array, "N _y _x3"]:
    """The square of pixels that each tile reads; rows outside of the image repeat its first or last."""
    y = jnp.clip(top[:, None] + jnp.arange(extent), 0, height - 1)
    x = jnp.clip(left, -MAX_EXTENT, width)
    starts = _MARGIN + 3 * (y * width + x[:, None])
    row = functools.partial(jax.lax.dynamic_slice_in_dim, pixels, slice_size=3 * extent)
    return jax.vmap(jax.vmap(row))(starts)


@jax.jit
@typed
def _to_columns(
    rows: UInt8[Array, "N _y _x3"], height: int | Count, width: int | Count, left: PerTile, top: PerTile
) -> Lines:
    """Columns as the leading axis, which makes a resize across them read whole vectors; black outside of the image."""
    extent = rows.shape[1]
    x, y = left[:, None] + jnp.arange(extent), top[:, None] + jnp.arange(extent)
    inside = ((x >= 0) & (x < width))[:, :, None] & ((y >= 0) & (y < height))[:, None, :]
    columns = rows.reshape(-1, extent, extent, 3).transpose(0, 2, 3, 1)
    return jnp.where(inside[:, :, None, :], columns, 0)


@jax.jit
@typed
def _mark(columns: Lines, x: PerTile, y: PerTile) -> Lines:
    """Draws a dot with its centre at pixel (x, y) of each tile, or the part of it that the tile shows."""
    axis = jnp.arange(columns.shape[1])
    distance = (axis - x[:, None])[:, :, None] ** 2 + (axis - y[:, None])[:, None, :] ** 2
    distance = distance[:, :, None, :]
    # Pillow's ellipse of this radius and outline covers the pixel centres within radius + 1/2 and, inside, - outline.
    disc, core = (distance < (radius + 0.5) ** 2 for radius in (DOT_RADIUS, DOT_RADIUS - DOT_OUTLINE))
    red = jnp.array([255, 0, 0], jnp.uint8)[:, None]
    return jnp.where(core, red, jnp.where(disc, jnp.uint8(255), columns))


@jax.jit
@typed
def _resample(lines: Lines, starts: Int[Array, "N T"], weights: Int[Array, "N T _taps"]) -> Lines:
    """Resizes along the leading axis with Pillow's integer arithmetic; below 2^31 because weights sum to about 2^22."""

    def one(lines: Array, starts: Array, weights: Array) -> Array:
        total = jnp.int32(1 << (PRECISION - 1))
        for tap in range(weights.shape[1]):
            pixels = jnp.take(lines, starts + tap, axis=0, mode="clip").astype(jnp.int32)
            total = total + pixels * weights[:, tap, None, None]
        return jnp.clip(total >> PRECISION, 0, 255).astype(jnp.uint8)

    return jax.vmap(one)(lines, starts, weights)


@jax.jit
@typed
def _turn(lines: Lines) -> Lines:
    """Columns to rows, or back."""
    return lines.transpose(0, 3, 2, 1)


@functools.partial(jax.jit, static_argnames="patch_size")
@typed
def _to_patches(rows: Lines, *, patch_size: int) -> UInt8[Array, "N _row _column 3 _h _w"]:
    """Patches raster by raster; the order of merge units comes with the index at which each is placed."""
    tiles, side = rows.shape[:2]
    split = rows.reshape(tiles, side // patch_size, patch_size, 3, side // patch_size, patch_size)
    return split.transpose(0, 1, 4, 3, 2, 5)
