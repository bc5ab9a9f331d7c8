"""From draft to Example: hostile images and boxes are refused by name, frames agree with decoded pixels."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from vigorl_jax.datasets.checks import check
from vigorl_jax.datasets.layouts.layout import Draft
from vigorl_jax.datasets.refusals import RecordError
from vigorl_jax.processing.decode import decode_image


def _image(width=64, height=32, kind="PNG", **options):
    stream = io.BytesIO()
    Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(stream, kind, **options)
    return stream.getvalue()


def _draft(*images, boxes=(), answer="a"):
    return Draft("id", "question", answer, images, boxes=boxes)


def _png_of(width, height):
    """A PNG whose header claims any size and whose data hold one byte."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0"))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    "data",
    [
        _png_of(60_000, 60_000),
        _png_of(0, 10),
        _image(kind="JPEG")[:-300],
        _image(1000, 1),
        b"<svg/>",
        b"\0" * 100,
    ],
    ids=["bomb", "zero size", "truncated", "1 x N", "svg", "zeros"],
)
def test_hostile_images_are_refused_by_name(data):
    with pytest.raises(RecordError, match=r"images\[1\]") as refusal:
        check(_draft(_image(), data), "spatial", "xyxy_pixels")
    assert refusal.value.reason == "image_unreadable"


def test_the_answer_of_a_pointing_record_is_its_box_in_pixels():
    draft = _draft(_image(64, 32), boxes=((0.25, 0.5, 0.5, 1.0),), answer=None)
    example = check(draft, "web_grounding", "xyxy_shares")
    assert example.boxes == ((16.0, 16.0, 32.0, 32.0),)
    assert example.answer == "(16, 16, 32, 32)"


def test_a_box_of_a_turned_photograph_lies_where_the_decoder_shows_its_pixels():
    stored = np.zeros((32, 64, 3), np.uint8)
    stored[8:16, 40:56] = 255
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(stored).save(stream, "PNG", exif=exif)
    example = check(_draft(stream.getvalue(), boxes=((40, 8, 56, 16),)), "web_grounding", "xyxy_pixels")
    (x0, y0, x1, y1) = map(int, example.boxes[0])
    shown = decode_image(example.images[0])
    assert shown.shape == (64, 32, 3)
    assert (x0, y0, x1, y1) == (16, 40, 24, 56)
    assert shown[y0:y1, x0:x1].min() == 255
    assert shown.sum() == 255 * 3 * 8 * 16
    draft = _draft(stream.getvalue(), boxes=((16, 40, 24, 56),))
    assert check(draft, "web_grounding", "xyxy_shown").boxes == example.boxes


def test_boxes_beyond_the_image_and_records_that_are_no_examples_are_refused():
    with pytest.raises(RecordError, match="leaves the image of 64 x 32"):
        check(_draft(_image(), boxes=((0, 0, 70, 10),)), "web_grounding", "xyxy_pixels")
    with pytest.raises(RecordError, match="needs an image"):
        check(_draft(boxes=((0, 0, 7, 10),)), "web_grounding", "xyxy_pixels")
    with pytest.raises(RecordError, match="at least one image") as refusal:
        check(_draft(), "spatial", "xyxy_pixels")
    assert refusal.value.reason == "invalid_example"


def test_half_characters_are_refused():
    for draft in (
        _draft(_image(), answer="\ud800"),
        Draft("i", "q", "a", (_image(),), metadata={"k": "\udfff"}),
    ):
        with pytest.raises(RecordError) as refusal:
            check(draft, "spatial", "xyxy_pixels")
        assert refusal.value.reason == "not_unicode"
