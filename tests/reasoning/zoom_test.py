"""The crop: windows as worked by hand, pixels as Pillow's, frames that map there and back."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from vigorl_jax.processing.frames import Frame, map_point
from vigorl_jax.processing.patches import to_images
from vigorl_jax.processing.settings import ImageSettings
from vigorl_jax.reasoning import zoom
from vigorl_jax.reasoning.calls import Zoom
from vigorl_jax.reasoning.zoom import CutFrom, DeviceRoom, Edges, ZoomSettings, open_source
from vigorl_jax.tasks.task import ZoomPreset

WIDTH, HEIGHT = 420, 310
SMALL = ImageSettings(min_pixels=56 * 56, max_pixels=196 * 140)
PLAIN, DOTTED = ZoomPreset(offset=40, side=112, dot=False), ZoomPreset(offset=40, side=112, dot=True)


def pillow_crop(image, window, side=112, dot=None):
    crop = Image.fromarray(image).crop(window)
    if dot:
        x, y = dot[0] - window[0], dot[1] - window[1]
        ellipse = (x - 7, y - 7, x + 7, y + 7)
        ImageDraw.Draw(crop).ellipse(ellipse, fill="red", outline="white", width=2)
    return np.asarray(crop.resize((side, side), Image.Resampling.BICUBIC), np.int16)


def cut_one(source, call, crops=()):
    (view,) = zoom.cut(source, [(call, crops)])
    return view


def pixels(view):
    (image,) = to_images(view.patches, SMALL)
    return image.astype(np.int16)


@pytest.mark.parametrize(
    ("point", "size", "offset", "window"),
    [
        ((500, 400), (1920, 1080), 100, (400, 300, 600, 500)),
        ((30, 1070), (1920, 1080), 100, (0, 970, 130, 1080)),
        ((2500, 400), (1920, 1080), 100, (2400, 300, 2401, 500)),
        ((-300, 400), (1920, 1080), 100, (0, 300, 1, 500)),
        ((5000, 5000), (1000, 1000), 182, (4818, 4818, 4819, 4819)),
    ],
)
def test_clamped_windows_are_those_of_the_official_code(point, size, offset, window):
    assert zoom.clamped_window(point, size, offset) == window


@pytest.mark.parametrize(
    ("point", "window"),
    [
        ((500, 400), (400, 300, 600, 500)),
        ((30, 1070), (0, 880, 200, 1080)),
        ((1919, 0), (1720, 0, 1920, 200)),
        ((9999, -5), (1720, 0, 1920, 200)),
    ],
)
def test_shifted_windows_keep_their_size_inside_the_image(point, window):
    assert zoom.shifted_window(point, (1920, 1080), 100) == window


@pytest.mark.parametrize(
    ("point", "window"),
    [
        ((200, 440), (140, 336, 252, 448)),
        ((0, 100), (0, 56, 112, 168)),
        ((447, 447), (336, 336, 448, 448)),
        ((170, 98), (112, 56, 224, 168)),  # 114 is nearest to 112, and 42 half way goes to the even multiple
    ],
)
def test_snapped_windows_begin_on_whole_units(point, window):
    assert zoom.snapped_window(point, (448, 448), 56) == window
    assert zoom.snapped_window(point, (440, 600), 56)[2] <= 440


def test_a_window_longer_than_the_image_shows_all_of_it():
    assert zoom.shifted_window((5, 90), (150, 100), 100) == (0, 0, 150, 100)
    assert zoom.clamped_window((75, 50), (150, 100), 100) == (0, 0, 150, 100)


WINDOWS = {Edges.CLAMP: "clamped_window", Edges.SHIFT: "shifted_window", Edges.SNAP: "snapped_window"}
PLACES = [(210, 155), (0, 155), (419, 155), (210, 0), (210, 309), (0, 0), (419, 309), (2, 307)]


@pytest.mark.parametrize("edges", Edges)
@pytest.mark.parametrize("preset", [PLAIN, DOTTED], ids=["plain", "dot"])
@pytest.mark.parametrize("limit", [None, 0], ids=["device", "host"])
def test_crops_are_pillow_crops_at_the_centre_the_borders_and_the_corners(photograph, edges, preset, limit):
    room = None if limit is None else DeviceRoom(limit)
    source = open_source(photograph, SMALL, ZoomSettings(preset, edges), room)
    original, model = Frame.original(WIDTH, HEIGHT), source.view.frame
    assert (model.width, model.height) == (168, 140)
    calls = [Zoom(model.clamp(map_point(place, original, model))) for place in PLACES]
    for call, view in zip(calls, zoom.cut(source, [(call, ()) for call in calls]), strict=True):
        point = map_point(call.point, model, original)
        window = getattr(zoom, WINDOWS[edges])(point, (WIDTH, HEIGHT), 40)
        assert view.frame == Frame(window, 112, 112)
        expected = pillow_crop(photograph, window, dot=point if preset.dot else None)
        assert np.abs(pixels(view) - expected).max() <= 2


def test_an_image_smaller_than_the_window_is_shown_whole(photograph):
    small = np.ascontiguousarray(photograph[:56, :70])
    source = open_source(small, SMALL, ZoomSettings(PLAIN))
    view = cut_one(source, Zoom((28, 28)))
    assert view.frame == Frame((0, 0, 70, 56), 112, 112)
    np.testing.assert_array_equal(pixels(view), pillow_crop(small, (0, 0, 70, 56)))


@pytest.mark.parametrize("size", [(112, 140), (100, 150)], ids=["the model's size", "another size"])
def test_the_view_is_the_image_as_pillow_resizes_it(photograph, size):
    image = np.ascontiguousarray(photograph[: size[0], : size[1]])
    view = open_source(image, SMALL, ZoomSettings(PLAIN)).view
    resized = Image.fromarray(image).resize((view.frame.width, view.frame.height), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(pixels(view), np.asarray(resized))


@pytest.mark.parametrize("limit", [None, 0], ids=["device", "host"])
def test_a_refused_point_outside_gives_the_black_strip_of_the_official_code(photograph, limit):
    room = None if limit is None else DeviceRoom(limit)
    source = open_source(photograph, SMALL, ZoomSettings(PLAIN, cut_from=CutFrom.REFERENCE), room)
    view = cut_one(source, Zoom((900, 60)))
    assert source.frame.width == 168
    assert not pixels(view).any()


def test_the_reference_setting_cuts_from_the_limited_image(photograph):
    source = open_source(photograph, SMALL, ZoomSettings(PLAIN, cut_from=CutFrom.REFERENCE))
    limited = np.asarray(Image.fromarray(photograph).resize((168, 140), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(source.pixels, limited)
    view = cut_one(source, Zoom((100, 70)))
    np.testing.assert_array_equal(pixels(view), pillow_crop(limited, (60, 30, 140, 110)))
    # 60 / 168 of 420 is 150, 30 / 140 of 310 is 66.4.
    assert view.frame.window == (150, 66, 350, 244)


def test_the_reference_setting_leaves_an_image_within_the_limits_and_its_points_alone(photograph):
    image = np.ascontiguousarray(photograph[:130, :190])
    source = open_source(image, SMALL, ZoomSettings(PLAIN, cut_from=CutFrom.REFERENCE))
    assert (source.view.frame.width, source.view.frame.height) == (196, 140)
    view = cut_one(source, Zoom((100, 70)))
    np.testing.assert_array_equal(pixels(view), pillow_crop(image, (60, 30, 140, 110)))
    assert view.frame.window == (60, 30, 140, 110)


def test_a_crop_of_a_crop_shows_a_part_of_it_from_the_original(photograph):
    source = open_source(photograph, SMALL, ZoomSettings(PLAIN))
    first = cut_one(source, Zoom((84, 70)))
    assert first.frame.window == (171, 116, 251, 196)  # around (211, 156)
    second = cut_one(source, Zoom((56, 56), image=1), [first])
    # 80 pixels of the crop around its centre are 57.1 of the original.
    assert second.frame == Frame((182, 127, 240, 185), 112, 112)
    np.testing.assert_array_equal(pixels(second), pillow_crop(photograph, (182, 127, 240, 185)))


def test_a_box_keeps_its_shape_and_takes_the_area_of_the_presets_square(photograph):
    source = open_source(photograph, SMALL, ZoomSettings(PLAIN), DeviceRoom(0))
    view = cut_one(source, Zoom((84, 70), box=(42, 56, 126, 84)))
    assert view.frame == Frame((105, 124, 315, 186), 224, 56)  # 112 x 112 pixels
    expected = (
        Image.fromarray(photograph).crop((105, 124, 315, 186)).resize((224, 56), Image.Resampling.BICUBIC)
    )
    np.testing.assert_array_equal(pixels(view), np.asarray(expected))


def test_a_box_too_small_or_too_thin_to_resize_grows_around_its_place():
    wide = np.zeros((60, 6000, 3), np.uint8)
    source = open_source(wide, ImageSettings(max_pixels=28 * 28 * 400), ZoomSettings(PLAIN))
    frame = source.view.frame
    assert cut_one(source, Zoom((0, 0), box=(0, 0, 1, 1))).frame.window == (0, 0, 28, 28)
    corner = (frame.width - 1, frame.height - 1, frame.width, frame.height)
    assert cut_one(source, Zoom(corner[:2], box=corner)).frame.window == (5972, 32, 6000, 60)
    thin = cut_one(source, Zoom((9, 9), box=(0, 10, frame.width, 11))).frame.window
    assert thin[3] - thin[1] == 30


def test_originals_stay_on_the_device_only_while_they_fit(photograph):
    settings = ZoomSettings(PLAIN)
    size = open_source(photograph, SMALL, settings).device.pixels.nbytes
    room = DeviceRoom(2 * size)
    first, second, third = (open_source(photograph, SMALL, settings, room) for _ in range(3))
    assert first.device is not None
    assert second.device is not None
    assert third.device is None
    room.give_back(third)
    assert room.left == 0
    room.give_back(first)
    assert open_source(photograph, SMALL, settings, room).device is not None


def test_a_crop_that_there_is_not_is_refused(photograph):
    source = open_source(photograph, SMALL, ZoomSettings(PLAIN))
    with pytest.raises(ValueError, match="names crop 2 of 0; parse it with their sizes first"):
        cut_one(source, Zoom((1, 1), image=2))


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_points_map_to_the_crop_and_back_within_half_a_pixel(data):
    width, height = data.draw(st.integers(28, 5000)), data.draw(st.integers(28, 5000))
    original = Frame.original(width, height)
    model = ImageSettings(max_pixels=2_850_000).model_frame(width, height)
    point = (data.draw(st.integers(0, model.width - 1)), data.draw(st.integers(0, model.height - 1)))
    centre = map_point(point, model, original)
    assert original.contains(centre)
    window = zoom.clamped_window(centre, (width, height), 182)
    crop = Frame(window, 672, 672)
    shown = map_point(centre, original, crop)
    assert crop.contains(shown)
    for coarse, there, back in [(model, point, centre), (crop, shown, centre)]:
        for axis, (low, high, size) in enumerate(
            [
                (coarse.window[0], coarse.window[2], coarse.width),
                (coarse.window[1], coarse.window[3], coarse.height),
            ]
        ):
            pixel = max(1.0, (high - low) / size)
            centre_there = low + (there[axis] + 0.5) * (high - low) / size
            assert math.isclose(centre_there, back[axis] + 0.5, abs_tol=0.5 * pixel + 1e-9)
