"""The integer tables of the resize against Pillow itself, and the tiles that cover an output exactly once."""

import numpy as np
import pytest
from PIL import Image

from vigorl_jax.processing import resample


def resize_columns(image, width):
    """One axis with the tables alone, in NumPy."""
    starts, weights = resample.bicubic_table(image.shape[1], width)
    total = np.full((image.shape[0], width, 3), 1 << 21, np.int64)
    for tap in range(weights.shape[1]):
        columns = np.minimum(starts + tap, image.shape[1] - 1)
        total += image[:, columns].astype(np.int64) * weights[:, tap, None]
    return np.clip(total >> 22, 0, 255).astype(np.uint8)


def test_the_tables_give_pillows_bytes_for_hundreds_of_sizes():
    rng = np.random.default_rng(0)
    for size_in, size_out in np.exp(rng.uniform(0, np.log(3000), (300, 2))).astype(int):
        image = rng.integers(0, 256, (2, size_in, 3), dtype=np.uint8)
        expected = np.asarray(Image.fromarray(image).resize((size_out, 2), Image.Resampling.BICUBIC))
        np.testing.assert_array_equal(resize_columns(image, size_out), expected, f"{size_in} to {size_out}")


def test_enlarging_twofold_has_the_weights_of_the_cubic_kernel():
    starts, weights = resample.bicubic_table(8, 16)
    # 5.5 / 2 = 2.75 lies 5/4, 1/4, 3/4, 7/4 from the centres of pixels 1 to 4: the kernel is -9, 111, 29, -3 / 128
    assert starts[5] == 1
    assert (weights[5] / 2**15).tolist() == [-9, 111, 29, -3]
    assert starts[4] == 0
    assert (weights[4] / 2**15).tolist() == [-3, 29, 111, -9]


def pillow_order(height, width, new_height, new_width):
    """Which axis the installed Pillow resizes first, told by resizing one axis after the other; None if not seen."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))
    both = np.asarray(image.resize((new_width, new_height), Image.Resampling.BICUBIC))
    equal = []
    for middle in ((width, new_height), (new_width, height)):
        steps = image.resize(middle, Image.Resampling.BICUBIC)
        steps = np.asarray(steps.resize((new_width, new_height), Image.Resampling.BICUBIC))
        equal.append((steps == both).all())
    assert any(equal)
    return None if all(equal) else bool(equal[0])


def test_the_order_of_the_axes_is_that_of_the_installed_pillow():
    rng = np.random.default_rng(1)
    seen = 0
    for height, width in rng.integers(20, 120, (150, 2)):
        new_height, new_width = height + rng.integers(-15, 8), width + rng.integers(-15, 8)
        order = pillow_order(height, width, new_height, new_width)
        if order is not None:
            seen += 1
            assert resample.rows_first((height, width), (new_height, new_width)) == order
    assert seen > 100


@pytest.mark.parametrize(("version", "expected"), [("11.3.0", False), ("12.2.0", False), ("13.0.0", True)])
def test_pillow_13_changed_the_order(version, expected):
    assert resample.rows_first((480, 640), (476, 644), version) == expected
    assert not resample.rows_first((480, 640), (476, 630), version)  # 4 rows fewer, 10 columns fewer


def test_patches_come_in_merge_units():
    assert resample.patch_order(2, 4, 2).tolist() == [[0, 1, 4, 5], [2, 3, 6, 7]]
    assert resample.patch_order(4, 2, 2).tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert resample.patch_order(2, 3, 1).tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_tile_shape_depends_on_the_shrinking_alone():
    assert resample.tile_shape((364, 364), (672, 672), 14) == resample.tile_shape((90, 60), (168, 112), 14)
    shape = resample.tile_shape((364, 364), (672, 672), 14)
    assert (shape.side, shape.eighths, shape.taps, shape.extent) == (112, 5, 4, 75)
    shape = resample.tile_shape((3000, 4000), (1448, 1932), 14)  # 16.6 pixels read for eight: 20
    assert (shape.eighths, shape.taps, shape.extent) == (20, 10, 289)


def test_shrinking_too_much_at_once_is_refused():
    with pytest.raises(
        ValueError, match="resizing 8000 x 8000 to 56 x 56 pixels shrinks too much at once; reduce"
    ):
        resample.tile_shape((8000, 8000), (56, 56), 14)


@pytest.mark.parametrize(("window", "grid"), [((5, 7, 105, 57), (1, 18, 10)), ((0, 0, 900, 40), (1, 2, 66))])
def test_tiles_write_every_patch_once_and_read_within_their_extent(window, grid):
    x0, y0, x1, y1 = window
    size_out = grid[1] * 14, grid[2] * 14
    shape = resample.tile_shape((y1 - y0, x1 - x0), size_out, 14)
    plans = [resample.plan_tiles(number, window, grid, shape, 2) for number in range(3)]
    batches = list(resample.Tiles.join(plans).batches(4))
    assert all(len(np.unique(tiles.patch_index)) == tiles.patch_index.size for tiles in batches)
    written = np.concatenate([tiles.patch_index.ravel() for tiles in batches])
    assert sorted(written[written < 1 << 30]) == list(range(3 * grid[1] * grid[2]))
    for tiles in batches:
        assert tiles.column_weights.shape == (4, shape.side, shape.taps)
        for starts, weights in (
            (tiles.column_starts, tiles.column_weights), (tiles.row_starts, tiles.row_weights),
        ):  # fmt: skip
            last = (starts[:, :, None] + np.arange(shape.taps))[weights != 0]
            assert starts.min() >= 0
            assert last.max() < shape.extent
