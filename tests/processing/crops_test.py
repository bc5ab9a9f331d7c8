"""Crops on the device against Pillow: every place of a window, dots, one set of programs, no copy of the image."""

import jax
import numpy as np
import pytest
from PIL import Image, ImageDraw

from vigorl_jax.processing import images
from vigorl_jax.processing.images import crop_patches, to_device
from vigorl_jax.processing.patches import to_images
from vigorl_jax.processing.resample import tile_shape
from vigorl_jax.processing.settings import ImageSettings

SETTINGS = ImageSettings()
HEIGHT, WIDTH = 240, 320
IMAGE = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
PLACES = {
    "centre": (130, 90, 230, 190), "left": (0, 80, 63, 180), "right": (260, 70, 320, 170), "top": (100, 0, 200, 51),
    "bottom": (99, 190, 199, 240), "top left": (0, 0, 50, 50), "top right": (290, 0, 320, 70),
    "bottom left": (0, 239, 100, 240), "bottom right": (319, 239, 320, 240), "odd": (17, 23, 116, 122),
}  # fmt: skip
OUTSIDE = {
    "over every border": (-40, -30, 360, 270), "beyond the right": (400, 30, 401, 130), "above": (40, -80, 140, 20),
    "left": (-60, 100, 40, 200), "below": (100, 200, 200, 300), "far away": (5000, 5000, 5001, 5001),
}  # fmt: skip


def pillow_crop(window, side, dot=None, image=IMAGE):
    crop = Image.fromarray(image).crop(window)
    if dot is not None:
        x, y = dot[0] - window[0], dot[1] - window[1]
        ImageDraw.Draw(crop).ellipse([x - 7, y - 7, x + 7, y + 7], fill="red", outline="white", width=2)
    return np.asarray(crop.resize((side, side), Image.Resampling.BICUBIC))


def our_crops(windows, *, side=112, largest=100, image=IMAGE, **options):
    placed = to_device(image)
    return to_images(
        crop_patches(placed, windows, side=side, largest=largest, settings=SETTINGS, **options),
        SETTINGS,
    )


@pytest.mark.parametrize("side", [112, 392, 56])
def test_crops_equal_pillows_at_the_centre_each_border_and_each_corner(side):
    crops = our_crops(list(PLACES.values()), side=side)
    for name, crop in zip(PLACES, crops, strict=True):
        np.testing.assert_array_equal(crop, pillow_crop(PLACES[name], side), name)


def test_what_lies_outside_of_the_image_is_black_as_in_pillow():
    crops = our_crops(list(OUTSIDE.values()), largest=400)
    for name, crop in zip(OUTSIDE, crops, strict=True):
        np.testing.assert_array_equal(crop, pillow_crop(OUTSIDE[name], 112), name)
    assert not crops[-1].any()


def test_random_windows_of_random_images_equal_pillows():
    rng = np.random.default_rng(1)
    for height, width in rng.integers(30, 400, (8, 2)):
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        corners = rng.integers(-50, [width, height], (6, 2))
        windows = [(*corner, *(corner + rng.integers(1, 201, 2))) for corner in corners.tolist()]
        windows = [tuple(map(int, window)) for window in windows]
        for window, crop in zip(windows, our_crops(windows, side=140, largest=200, image=image), strict=True):
            np.testing.assert_array_equal(
                crop, pillow_crop(window, 140, image=image), f"{window} of {width} x {height}"
            )


def test_dots_equal_pillows_ellipse_wherever_they_are_cut_off():
    dots = [
        (180, 140),
        (0, 130),
        (319, 120),
        (150, 0),
        (149, 239),
        (0, 0),
        (313, 3),
        (50, 239),
        (319, 239),
        (60, 121),
    ]
    crops = our_crops(list(PLACES.values()), side=392, dots=dots)
    for name, dot, crop in zip(PLACES, dots, crops, strict=True):
        np.testing.assert_array_equal(crop, pillow_crop(PLACES[name], 392, dot), name)
    (plain,) = our_crops([PLACES["centre"]], side=392)
    changed = (crops[0] != plain).any(axis=2)
    assert changed[196, 196]
    assert 0 < changed.mean() < 0.05


def test_only_the_window_of_its_dot_is_marked():
    window = (100, 100, 200, 200)
    with_dots = our_crops([window, window], dots=[(150, 150), (110, 190)])
    np.testing.assert_array_equal(with_dots[0], pillow_crop(window, 112, (150, 150)))
    np.testing.assert_array_equal(with_dots[1], pillow_crop(window, 112, (110, 190)))


@pytest.mark.parametrize(("requested", "made"), [(384, 392), (512, 504), (100, 112)])
def test_requested_sides_round_to_whole_units(requested, made):
    assert our_crops([(0, 0, 50, 50)], side=requested)[0].shape == (made, made, 3)


def test_a_crop_of_the_window_alone_equals_a_crop_of_the_whole_image():
    x0, y0, x1, y1 = PLACES["odd"]
    alone = our_crops([(0, 0, x1 - x0, y1 - y0)], image=IMAGE[y0:y1, x0:x1], dots=[(60 - x0, 70 - y0)])
    np.testing.assert_array_equal(alone[0], our_crops([PLACES["odd"]], dots=[(60, 70)])[0])


def test_one_compilation_serves_all_windows_sizes_and_counts_of_a_preset():
    rng = np.random.default_rng(2)
    stages = (images._read, images._to_columns, images._resample, images._turn, images._to_patches)
    our_crops(list(PLACES.values()))
    before = [stage._cache_size() for stage in stages]
    for count in (1, 2, 7, 10):
        corners = rng.integers(0, [WIDTH - 1, HEIGHT - 1], (count, 2)).tolist()
        our_crops([(x, y, min(x + 100, WIDTH), min(y + 77, HEIGHT)) for x, y in corners])
    turned = np.ascontiguousarray(IMAGE.transpose(1, 0, 2))  # another width, the same number of bytes
    our_crops([(3, 4, 90, 95)], image=turned)
    assert [stage._cache_size() for stage in stages] == before


def test_a_crop_copies_neither_the_image_nor_a_row_of_it():
    image = to_device(np.zeros((3000, 4000, 3), np.uint8))
    shape = tile_shape((364, 364), (672, 672), 14)
    corner = np.zeros(shape.batch, np.int32)
    compiled = images._read.lower(image.pixels, 3000, 4000, corner, corner, extent=shape.extent).compile()
    memory = compiled.memory_analysis()
    read = 3 * shape.extent**2 * shape.batch
    assert memory.output_size_in_bytes == read
    assert memory.temp_size_in_bytes < read < image.pixels.size / 30


def test_crops_stay_where_their_image_is():
    device = jax.devices()[-1]
    image = images.DeviceImage(jax.device_put(to_device(IMAGE).pixels, device), HEIGHT, WIDTH)
    crops = crop_patches(image, [PLACES["odd"]], side=112, largest=100, settings=SETTINGS)
    assert crops.pixels.devices() == {device}


@pytest.mark.parametrize(
    ("windows", "options", "message"),
    [
        ([], {}, "crop_patches of no windows; skip the call"),
        ([(5, 5, 5, 9)], {}, r"window \(5, 5, 5, 9\) must have sides of 1 to 100 pixels; clamp it"),
        ([(0, 0, 101, 10)], {}, "must have sides of 1 to 100 pixels"),
        ([(0, 0, 10, 10)], {"dots": []}, "0 dots for 1 windows; give one for each"),
        ([(0, 0, 10, 10)], {"side": 13}, "a crop of side 13 is under one unit; give at least 28"),
        ([(0, 0, 10, 10)], {"side": 28, "largest": 10**4}, "shrinks too much at once"),
    ],
)
def test_impossible_crops_are_refused(windows, options, message):
    with pytest.raises(ValueError, match=message):
        our_crops(windows, **options)
