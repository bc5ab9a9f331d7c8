"""Box conventions, EXIF orientation and image borders, on numbers that a reader can redo."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from vigorl_jax.datasets.boxes import CONVENTIONS, box_text, inside, oriented
from vigorl_jax.datasets.refusals import RecordError


@pytest.mark.parametrize(
    ("convention", "box", "corners"),
    [
        ("xyxy_pixels", (100, 50, 300, 80), (100, 50, 300, 80)),
        ("xywh_pixels", (100, 50, 300, 80), (100, 50, 400, 130)),
        ("xywh_pixels", (300, 80, 100, 50), (300, 80, 400, 130)),
        ("xyxy_shares", (0.25, 0.5, 0.75, 1.0), (250, 200, 750, 400)),
    ],
)
def test_conventions_in_an_image_of_1000_by_400(convention, box, corners):
    assert CONVENTIONS[convention](box, (1000, 400)) == corners


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_marked_rectangle_lies_where_pillow_shows_it(orientation):
    stored = np.zeros((6, 10, 3), np.uint8)
    stored[1:3, 4:9] = 255
    image = Image.fromarray(stored)
    image.getexif()[0x0112] = orientation
    shown = np.asarray(ImageOps.exif_transpose(image))
    x0, y0, x1, y1 = oriented((4, 1, 9, 3), (10, 6), orientation)
    assert shown[y0:y1, x0:x1].min() == 255
    assert shown.sum() == 255 * 3 * (x1 - x0) * (y1 - y0)


def test_a_border_passed_by_rounding_is_cut():
    assert inside((-1, 0.5, 10.9, 5), (10, 5)) == (0, 0.5, 10, 5)


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ((3, 1, 3, 2), "box_negative_size"),
        ((3, 1, 2, 2), "box_negative_size"),
        ((0, 5, 3, 4), "box_negative_size"),
        ((-2, 0, 3, 3), "box_outside_image"),
        ((0, 0, 12, 3), "box_outside_image"),
        ((0, 0, 3, 7), "box_outside_image"),
        ((10, 0, 11, 3), "box_outside_image"),
    ],
)
def test_boxes_outside_the_image_or_without_area_are_refused(box, reason):
    with pytest.raises(RecordError) as refusal:
        inside(box, (10, 5))
    assert refusal.value.reason == reason


def test_a_box_as_an_answer():
    assert box_text((10.0, 20.0, 30.0, 40.5)) == "(10, 20, 30, 40.5)"
