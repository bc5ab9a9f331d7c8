"""Decoding: what every kind of file becomes, worked by hand, and what is refused before or while decoding."""

import concurrent.futures
import io
import os
import struct
import zlib

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image, ImageFile

from vigorl_jax.processing.decode import ImageError, decode_image

ORIENTATION = 0x0112
# What a viewer does to the stored pixels for each value of the EXIF orientation.
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda a: np.rot90(a),
}


def picture(height=24, width=32, seed=0):
    """Large blocks of random colours, which JPEG keeps almost exactly."""
    blocks = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return np.kron(blocks, np.ones((8, 8, 1), np.uint8))


def file_of(image, form="PNG", **options):
    buffer = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(buffer, form, **options)
    return buffer.getvalue()


def png_header(width, height):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("form", ["PNG", "WEBP", "BMP", "TIFF"])
def test_lossless_files_come_back_byte_for_byte(form):
    options = {"lossless": True} if form == "WEBP" else {}
    decoded = decode_image(file_of(picture(), form, **options))
    assert decoded.dtype == np.uint8
    assert decoded.flags.writeable
    assert decoded.flags.c_contiguous
    np.testing.assert_array_equal(decoded, picture())


def test_a_jpeg_comes_back_within_its_loss():
    decoded = decode_image(file_of(picture(), "JPEG", quality=95, subsampling=0))
    assert np.abs(decoded.astype(int) - picture()).max() <= 3


def test_a_path_is_read_whatever_its_ending(tmp_path):
    path = tmp_path / "shot.txt"
    path.write_bytes(file_of(picture()))
    np.testing.assert_array_equal(decode_image(path), picture())
    np.testing.assert_array_equal(decode_image(str(path)), picture())


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_is_applied_once(form, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = {"lossless": True} if form == "WEBP" else {}
    decoded = decode_image(file_of(picture(), form, exif=exif, **options))
    np.testing.assert_array_equal(decoded, UPRIGHT[orientation](picture()))


def test_the_exif_orientation_of_a_jpeg_is_applied_once():
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    decoded = decode_image(file_of(picture(), "JPEG", exif=exif, quality=95, subsampling=0))
    assert np.abs(decoded.astype(int) - np.rot90(picture(), -1)).max() <= 3


def test_transparency_is_laid_on_white():
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    image.putpixel((1, 0), (100, 200, 0, 128))
    # 128/255 of the colour and 127/255 of white: 100 -> 177, 200 -> 227, 0 -> 127
    assert decode_image(file_of(image)).tolist() == [[[255, 255, 255], [177, 227, 127]]]
    grey = Image.new("LA", (1, 1), (60, 0))
    assert decode_image(file_of(grey)).tolist() == [[[255, 255, 255]]]


def test_a_transparent_palette_entry_becomes_white():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    assert decode_image(file_of(image)).tolist() == [[[10, 20, 30], [40, 50, 60]]]
    assert decode_image(file_of(image, transparency=1)).tolist() == [[[10, 20, 30], [255, 255, 255]]]
    assert decode_image(file_of(image, "GIF", transparency=0)).tolist() == [[[255, 255, 255], [40, 50, 60]]]


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bits_of_grey_keep_their_high_byte(form):
    wide = np.array([[0, 255, 256, 0x7FFF, 0x8000, 65535]], np.uint16)
    decoded = decode_image(file_of(wide, form))
    assert decoded[0, :, 0].tolist() == [0, 0, 1, 127, 128, 255]
    assert (decoded == decoded[:, :, :1]).all()


def test_a_transparent_sixteen_bit_grey_becomes_white():
    wide = Image.fromarray(np.array([[0x1234, 0x1235]], np.uint16))
    assert decode_image(file_of(wide, transparency=0x1234)).tolist() == [[[255] * 3, [0x12] * 3]]


def test_grey_bilevel_and_cmyk_become_rgb():
    assert decode_image(file_of(Image.new("L", (1, 1), 77))).tolist() == [[[77, 77, 77]]]
    assert decode_image(file_of(Image.new("1", (1, 1), 1))).tolist() == [[[255, 255, 255]]]
    cmyk = Image.new("CMYK", (8, 8), (0, 255, 255, 0))  # no cyan, all magenta and yellow: red
    assert decode_image(file_of(cmyk, "TIFF"))[0, 0].tolist() == [255, 0, 0]
    np.testing.assert_allclose(decode_image(file_of(cmyk, "JPEG", quality=95))[4, 4], [255, 0, 0], atol=3)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_samples_of_32_bits_are_refused_by_name(mode):
    with pytest.raises(ImageError, match=f"scan.tif: pixels of kind '{mode}'; convert"):
        decode_image(file_of(Image.new(mode, (4, 4)), "TIFF"), name="scan.tif")


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
def test_animations_and_pages_are_refused(form):
    frames = [Image.fromarray(picture(seed=seed)) for seed in range(3)]
    with pytest.raises(ImageError, match="an animation or several pages; save the frame"):
        decode_image(file_of(frames[0], form, save_all=True, append_images=frames[1:]))


def test_a_photograph_with_a_preview_inside_is_its_first_picture():
    data = file_of(
        picture(), "MPO", save_all=True, append_images=[Image.fromarray(picture(seed=1))], quality=95
    )
    np.testing.assert_array_equal(decode_image(data), decode_image(file_of(picture(), "JPEG", quality=95)))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_truncated_files_are_refused(form):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = file_of(noise, form)
    with pytest.raises(ImageError, match=r"cut\.img: damaged or truncated"):
        decode_image(data[: len(data) // 2], name="cut.img")


def test_a_bomb_is_refused_by_its_declared_size(tmp_path):
    with pytest.raises(ImageError, match="bomb: 9000 x 9000 pixels are over the limit of 67108864; reduce"):
        decode_image(png_header(9000, 9000), name="bomb")
    with pytest.raises(ImageError, match="far too many pixels"):
        decode_image(png_header(60000, 60000))
    with pytest.raises(ImageError, match="32 x 24 pixels are over the limit of 767"):
        decode_image(file_of(picture()), max_pixels=767)
    assert decode_image(file_of(picture()), max_pixels=768).shape == (24, 32, 3)


def test_files_over_the_byte_limit_are_refused_unread(tmp_path):
    data = file_of(picture())
    path = tmp_path / "large.png"
    path.write_bytes(data)
    for source in (data, path):
        with pytest.raises(ImageError, match="bytes are over the limit of 50; use a smaller file"):
            decode_image(source, max_bytes=50)
    assert decode_image(path, max_bytes=len(data)).shape == (24, 32, 3)


def test_strips_and_images_without_pixels_are_refused():
    with pytest.raises(ImageError, match="1 x 201 pixels, over 200 times as long as wide; cut it"):
        decode_image(file_of(Image.new("RGB", (1, 201))))
    assert decode_image(file_of(Image.new("RGB", (1, 200)))).shape == (200, 1, 3)
    with pytest.raises(ImageError, match="no image in any of the formats"):
        decode_image(png_header(0, 5))


def test_other_formats_and_things_are_refused(tmp_path):
    with pytest.raises(
        ImageError, match="no image in any of the formats PNG, JPEG, WEBP, GIF, BMP, TIFF; convert or replace"
    ):
        decode_image(b"%PDF-1.7 something else")
    with pytest.raises(ImageError, match="no image in any of the formats"):
        decode_image(file_of(Image.new("RGB", (4, 4)), "PPM"))
    with pytest.raises(ImageError, match="not a regular file"):
        decode_image(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ImageError, match="not a regular file"):
        decode_image(tmp_path / "pipe")
    with pytest.raises(FileNotFoundError):
        decode_image(tmp_path / "absent.png")


@pytest.mark.filterwarnings("ignore:.*:UserWarning:PIL")
@hypothesis.settings(deadline=None)
@hypothesis.given(st.sampled_from(["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"]), st.data())
def test_damaged_bytes_give_pixels_or_an_image_error(form, data):
    content = bytearray(file_of(picture(), form))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = decode_image(bytes(content), max_pixels=10**6)
    except ImageError:
        return
    assert decoded.dtype == np.uint8
    assert decoded.ndim == 3
    assert decoded.shape[2] == 3


def test_threads_decode_alike_and_pillow_keeps_its_settings():
    before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
    files = [file_of(picture(seed=seed), "JPEG") for seed in range(8)] * 4
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        threaded = list(pool.map(decode_image, files))
    for file, decoded in zip(files, threaded, strict=True):
        np.testing.assert_array_equal(decoded, decode_image(file))
    assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
