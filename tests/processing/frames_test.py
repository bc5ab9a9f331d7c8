"""Frames: exact maps between original, model and crop pixels, against fractions worked by hand and transformers."""

from fractions import Fraction

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from vigorl_jax.processing.frames import Frame, map_box, map_point, round_box, round_to_unit, smart_resize

SIDES = st.integers(1, 5000)


@st.composite
def frames(draw):
    x0, y0 = draw(st.integers(-500, 5000)), draw(st.integers(-500, 5000))
    window = (x0, y0, x0 + draw(SIDES), y0 + draw(SIDES))
    return Frame(window, draw(SIDES), draw(SIDES))


def test_the_centre_of_a_pixel_decides_where_a_point_goes():
    original = Frame.original(1920, 1080)
    model = original.resized(1932, 1092)
    # 1919.5 * 1932 / 1920 = 1931.50, 540.5 * 1092 / 1080 = 546.51
    assert map_point((1919, 540), original, model) == (1931, 546)
    assert map_point((1931, 546), model, original) == (1919, 540)
    assert map_point((0, 0), original, model) == (0, 0)


def test_a_crop_shifts_and_scales():
    original = Frame.original(1920, 1080)
    crop = Frame((400, 300, 600, 500), 504, 504)  # 2.52 crop pixels for each original pixel
    assert map_point((500, 400), original, crop) == (253, 253)  # 100.5 * 2.52 = 253.26
    assert map_point((253, 253), crop, original) == (500, 400)
    assert map_point((399, 400), original, crop) == (-2, 253)  # -0.5 * 2.52 = -1.26: left of the crop
    assert not crop.contains((-2, 253))
    assert crop.clamp((-2, 600)) == (0, 503)


def test_a_clamped_window_has_its_own_scale_on_each_axis():
    crop = Frame((0, 970, 130, 1080), 504, 504)
    assert map_box((0, 0, 504, 504), crop, Frame.original(1920, 1080)) == (0, 970, 130, 1080)
    assert map_point((65, 1025), Frame.original(1920, 1080), crop) == (
        253,
        254,
    )  # 65.5 * 504 / 130, 55.5 * 504 / 110


@hypothesis.settings(deadline=None)
@hypothesis.given(frames(), frames(), st.data())
def test_points_come_back_within_half_a_pixel_of_the_coarser_frame(source, target, data):
    point = data.draw(st.integers(0, source.width - 1)), data.draw(st.integers(0, source.height - 1))
    there = map_point(point, source, target)
    back = map_box((there[0] + Fraction(1, 2), there[1] + Fraction(1, 2)) * 2, target, source)
    for axis, (low, high, size, other_low, other_high, other_size) in enumerate(
        zip(source.window[:2], source.window[2:], (source.width, source.height),
            target.window[:2], target.window[2:], (target.width, target.height), strict=True)
    ):  # fmt: skip
        target_pixel = Fraction(other_high - other_low, other_size) / Fraction(high - low, size)
        assert abs(back[axis] - point[axis] - Fraction(1, 2)) <= max(1, target_pixel) / 2


@hypothesis.settings(deadline=None)
@hypothesis.given(SIDES, SIDES, SIDES, SIDES, st.data())
def test_every_pixel_of_an_image_lands_inside_the_image_at_another_size(
    width, height, new_width, new_height, data
):
    original = Frame.original(width, height)
    model = original.resized(new_width, new_height)
    point = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    assert model.contains(map_point(point, original, model))
    if new_width >= width and new_height >= height:
        assert map_point(map_point(point, original, model), model, original) == point


@hypothesis.settings(deadline=None)
@hypothesis.given(frames(), frames(), st.tuples(*[st.integers(-9999, 9999)] * 4))
def test_boxes_map_there_and_back_exactly(source, target, box):
    assert map_box(map_box(box, source, target), target, source) == box


def test_boxes_scale_by_their_edges_and_round_halves_up():
    small = Frame.original(100, 20).resized(50, 10)
    mapped = map_box((1, 2, 100, 19), Frame.original(100, 20), small)
    assert mapped == (Fraction(1, 2), 1, 50, Fraction(19, 2))
    assert round_box(mapped) == (1, 1, 50, 10)
    assert small.clamp_box((-3, 2, 60, 10)) == (0, 2, 50, 10)


@pytest.mark.parametrize("arguments", [((5, 0, 5, 3), 1, 1), ((0, 0, 4, 4), 0, 1), ((0, 4, 4, 3), 1, 1)])
def test_a_frame_without_pixels_is_refused(arguments):
    with pytest.raises(ValueError, match="has no pixels; give x0 < x1"):
        Frame(*arguments)


@pytest.mark.parametrize(
    ("height", "width", "max_pixels", "expected"),
    [
        (1080, 1920, 12_960_000, (1092, 1932)),
        (2160, 3840, 4_194_304, (1512, 2716)),
        (2160, 3840, 2_850_000, (1260, 2240)),
        (2160, 3840, 12_960_000, (2156, 3836)),
        (150, 205, 12_960_000, (140, 196)),
    ],
)
def test_smart_resize_gives_the_documented_sizes(height, width, max_pixels, expected):
    assert smart_resize(height, width, unit=28, min_pixels=3136, max_pixels=max_pixels) == expected


def test_smart_resize_equals_transformers_over_thousands_of_sizes():
    from transformers.models.qwen2_vl import image_processing_pil_qwen2_vl as reference

    rng = np.random.default_rng(0)
    checked = 0
    for log_height, log_width, log_max in rng.uniform(np.log(28), np.log([9000, 9000, 3000]), (6000, 3)):
        height, width = int(np.exp(log_height)), int(np.exp(log_width))
        limits = {
            "min_pixels": int(rng.integers(1, 300_000)),
            "max_pixels": int(np.exp(2 * log_max)) + 300_000,
        }
        if max(height, width) > 200 * min(height, width):
            continue
        expected = reference.smart_resize(height, width, factor=28, **limits)
        assert smart_resize(height, width, unit=28, **limits) == expected, (height, width, limits)
        checked += 1
    assert checked > 5000


@pytest.mark.parametrize(
    ("height", "width", "message"),
    [
        (27, 500, "500 x 27 pixels has a side under 28; enlarge"),
        (28, 5601, "more than 200 times"),
        (9000, 30, "cut it"),
    ],
)
def test_smart_resize_refuses_tiny_sides_and_long_strips(height, width, message):
    with pytest.raises(ValueError, match=message):
        smart_resize(height, width, unit=28, min_pixels=3136, max_pixels=10**7)


def test_sides_round_to_whole_units_halves_to_the_even_one():
    assert [round_to_unit(side, 28) for side in (384, 512, 672, 100, 42, 14)] == [392, 504, 672, 112, 56, 0]
