"""Where each patch of a set of images lies in the vision tower: host metadata with bucketed shapes.

The tower sees N rows of R patch slots. A row is cut into tiles as large as one attention window; every
window lies inside one tile and every image inside one row, so window attention runs over tiles and full
attention over rows, both with small masks of equal segments and without moving a patch between blocks.
Partial windows share tiles and small images share rows (first fit), so that little of the work is padding.
Shapes depend on the bucket (N, R) alone: any images that fit a bucket run the same compiled tower.
"""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from vigorl_jax.buckets import bucket
from vigorl_jax.qwen25vl.config import VisionConfig

Grid = tuple[int, int, int]
PADDING = -1


@dataclasses.dataclass(frozen=True)
class PatchLayout:
    """The slots of the patches of some images.

    Attributes:
      source: index of the slot's patch among all patches, images one after the other; PADDING if empty  # [N, R]
      coordinates: (row, column) of the patch in its image, in patches  # [N, R, 2]
      windows: id of the slot's window, unique within its tile; PADDING if empty  # [N, R]
      images: id of the slot's image, unique within its row; PADDING if empty  # [N, R]
      token_slots: for each image, the index of each of its merged tokens, raster by raster, in the tower's
        flattened output of N * R / merge^2 tokens.
    """

    source: np.ndarray
    coordinates: np.ndarray
    windows: np.ndarray
    images: np.ndarray
    token_slots: tuple[np.ndarray, ...]

    @property
    def bucket(self) -> tuple[int, int]:
        """(N, R): all that the compiled tower depends on."""
        return self.source.shape


def tile_slots(config: VisionConfig) -> int:
    """Patches of a full attention window; window sizes round down to whole merge units, as in the reference."""
    return _window_units(config) ** 2 * config.spatial_merge_size**2


def window_sizes(grid: Grid, config: VisionConfig) -> list[int]:
    """Patches of each attention window of an image: (1, 8, 12) with windows of 8 x 8 gives [64, 32]."""
    plan = _plan(grid[1], grid[2], config.spatial_merge_size, _window_units(config))
    return [len(units) * config.spatial_merge_size**2 for units in plan.windows]


def patch_layout(grids: Sequence[Grid], config: VisionConfig, *, rows: int | None = None) -> PatchLayout:
    """Places images of the given grids (t, h, w), in patches, into bucketed rows.

    Args:
      rows: least number of rows, rounded up to no bucket: a multiple of the devices that share the rows, say.

    Raises:
      ValueError: no images, a grid with several frames (video), or one that does not divide into merge units.
    """
    if not grids:
        raise ValueError("patch_layout of no images; leave the vision tower out for text alone")
    for grid in grids:
        _check_grid(grid, config.spatial_merge_size)
    plans = [_plan(h, w, config.spatial_merge_size, _window_units(config)) for _, h, w in grids]
    row_tiles = bucket(max(plan.tiles_alone for plan in plans))
    packed = _Rows(row_tiles, _window_units(config) ** 2)
    placements = {i: packed.place(plans[i]) for i in sorted(range(len(plans)), key=lambda i: -plans[i].units)}
    num_rows = max(bucket(packed.num_rows), rows or 1)
    return _fill(plans, placements, num_rows, row_tiles * tile_slots(config), config)


def _check_grid(grid: Grid, merge: int) -> None:
    frames, height, width = grid
    if frames != 1:
        raise ValueError(
            f"grid {tuple(grid)} has {frames} frames: video is not supported; give each frame as an image of its own"
        )
    if height < 1 or width < 1 or height % merge or width % merge:
        raise ValueError(
            f"grid {tuple(grid)} does not divide into {merge} x {merge} patches; resize images to whole units"
        )


def _window_units(config: VisionConfig) -> int:
    return config.window_size // config.spatial_merge_size // config.patch_size


@dataclasses.dataclass(frozen=True)
class _Plan:
    """The windows of one image, in merge units: which units each window holds, and how full it is."""

    width: int  # merge units of a row of the image
    windows: tuple[np.ndarray, ...]  # raster indexes of the units of each window
    units: int
    tiles_alone: int  # tiles when the image shares none


@functools.lru_cache(maxsize=4096)
def _plan(height: int, width: int, merge: int, window: int) -> _Plan:
    rows, columns = height // merge, width // merge
    index = np.arange(rows * columns).reshape(rows, columns)
    windows = tuple(
        index[top : top + window, left : left + window].ravel()
        for top in range(0, rows, window)
        for left in range(0, columns, window)
    )
    alone = _Rows(len(windows), window**2)
    alone.place_windows(windows, 0)
    return _Plan(columns, windows, rows * columns, len(alone.free[0]))


class _Rows:
    """First-fit packing of windows into tiles and of images into rows, in merge units."""

    def __init__(self, tiles: int, tile_units: int):
        self.tiles, self.tile_units = tiles, tile_units
        self.free: list[list[int]] = [[]]  # free units of the tiles opened in each row

    @property
    def num_rows(self) -> int:
        return len(self.free)

    def place(self, plan: _Plan) -> tuple[int, list[int]]:
        """(row, first unit of each window within the row), in the first row that takes the whole image."""
        for row in range(self.num_rows):
            if (
                self._room(row) >= plan.units
                and (starts := self.place_windows(plan.windows, row)) is not None
            ):
                return row, starts
        self.free.append([])
        return self.num_rows - 1, self.place_windows(plan.windows, self.num_rows - 1)

    def _room(self, row: int) -> int:
        return sum(self.free[row]) + (self.tiles - len(self.free[row])) * self.tile_units

    def place_windows(self, windows: Sequence[np.ndarray], row: int) -> list[int] | None:
        """First unit of each window, largest windows first; None, and nothing placed, if they do not all fit."""
        free, starts = list(self.free[row]), [0] * len(windows)
        for i in sorted(range(len(windows)), key=lambda i: -len(windows[i])):
            size = len(windows[i])
            tile = next((t for t, room in enumerate(free) if room >= size), len(free))
            if tile == len(free):
                if tile == self.tiles:
                    return None
                free.append(self.tile_units)
            starts[i] = tile * self.tile_units + self.tile_units - free[tile]
            free[tile] -= size
        self.free[row] = free
        return starts


def _fill(plans, placements, num_rows: int, row_slots: int, config: VisionConfig) -> PatchLayout:
    merge = config.spatial_merge_size
    unit_slots = merge**2
    source = np.full((num_rows, row_slots), PADDING, np.int32)
    coordinates = np.zeros((num_rows, row_slots, 2), np.int32)
    windows, images = source.copy(), source.copy()
    token_slots, first_patch = [], 0
    for i, plan in enumerate(plans):
        row, starts = placements[i]
        slot_unit = np.concatenate([s + np.arange(len(w)) for s, w in zip(starts, plan.windows, strict=True)])
        window_of_unit = np.concatenate(
            [np.full(len(w), s) for s, w in zip(starts, plan.windows, strict=True)]
        )
        units = np.concatenate(plan.windows)
        slots = (slot_unit[:, None] * unit_slots + np.arange(unit_slots)).ravel()
        source[row, slots] = first_patch + (units[:, None] * unit_slots + np.arange(unit_slots)).ravel()
        coordinates[row, slots] = _unit_coordinates(units, plan.width, merge).reshape(-1, 2)
        windows[row, slots] = np.repeat(window_of_unit, unit_slots)
        images[row, slots] = i
        order = np.empty(plan.units, np.int32)
        order[units] = row * (row_slots // unit_slots) + slot_unit
        token_slots.append(order)
        first_patch += plan.units * unit_slots
    return PatchLayout(source, coordinates, windows, images, tuple(token_slots))


def _unit_coordinates(units: np.ndarray, width: int, merge: int) -> np.ndarray:
    """(row, column) in patches of the merge x merge patches of each unit  # [units, merge^2, 2]"""
    corner = np.stack(np.divmod(units, width), axis=-1) * merge
    inside = np.stack(np.divmod(np.arange(merge**2), merge), axis=-1)
    return corner[:, None] + inside
