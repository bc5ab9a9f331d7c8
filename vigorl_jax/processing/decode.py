"""Image files from outside to RGB pixels, safely: sizes are checked before decoding, oddities converted or refused."""

import contextlib
import io
import os
import pathlib
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageOps

from vigorl_jax.processing.frames import MAX_ASPECT_RATIO

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
MAX_BYTES = 64 * 2**20
MAX_PIXELS = 64 * 2**20  # twice an 8K screen

_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N")
_WITH_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")
_DIRECT = ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "LAB")


class ImageError(ValueError):
    """An image file that cannot be used; the message names the file, the fault and the remedy."""


def decode_image(
    data: bytes | str | os.PathLike,
    *,
    max_bytes: int = MAX_BYTES,
    max_pixels: int = MAX_PIXELS,
    name: str | None = None,
) -> np.ndarray:
    """Decodes an image file, given as its bytes or its path, to uint8 RGB [H, W, 3].

    PNG, JPEG, WebP, GIF, BMP and TIFF are read, whatever the file is called. The EXIF orientation is applied, once.
    Transparency is laid on white; palettes, grey, CMYK and YCbCr become RGB without colour profiles; of 16-bit
    channels the high byte is kept. Safe to call from several threads; Pillow's global settings are left alone.

    Args:
      data: The file.
      max_bytes: Limit of the file's size.
      max_pixels: Limit of width x height, checked against the header before any pixel is decoded.
      name: How error messages call the image; its path, or "image", by default.

    Raises:
      ImageError: too large, truncated or damaged, another format or no pixels, several frames, one side over 200 times
        the other, or samples of more than 16 bits.
      FileNotFoundError: the path does not exist.
    """
    if name is None:
        name = "image" if isinstance(data, bytes) else os.fspath(data)
    content = data if isinstance(data, bytes) else _read(pathlib.Path(data), max_bytes, name)
    if len(content) > max_bytes:
        raise ImageError(
            f"{name}: {len(content)} bytes are over the limit of {max_bytes}; use a smaller file"
        )
    with _pillow_errors(name), Image.open(io.BytesIO(content), formats=FORMATS) as image:
        _check_size(image, max_pixels, name)
        _check_single(image, name)
        image.load()
        return np.array(_to_rgb(ImageOps.exif_transpose(image), name))


def _read(path: pathlib.Path, max_bytes: int, name: str) -> bytes:
    if path.exists() and not path.is_file():
        raise ImageError(f"{name}: not a regular file; give the path of an image file")
    with path.open("rb") as file:
        return file.read(max_bytes + 1)


@contextlib.contextmanager
def _pillow_errors(name: str) -> Iterator[None]:
    try:
        yield
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name}: far too many pixels ({error}); reduce the image") from error
    except Image.UnidentifiedImageError as error:
        raise ImageError(
            f"{name}: no image in any of the formats {', '.join(FORMATS)}; convert or replace it"
        ) from error
    except Exception as error:  # Pillow's readers raise a dozen unrelated types on damaged data
        raise ImageError(f"{name}: damaged or truncated ({error}); replace the file") from error


def _check_size(image: Image.Image, max_pixels: int, name: str) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise ImageError(
            f"{name}: {width} x {height} pixels are over the limit of {max_pixels}; reduce the image"
        )
    if max(width, height) > MAX_ASPECT_RATIO * min(width, height):
        raise ImageError(
            f"{name}: {width} x {height} pixels, over {MAX_ASPECT_RATIO} times as long as wide; cut it"
        )


def _check_single(image: Image.Image, name: str) -> None:
    # The further pictures of an MPO are depth maps and previews of one photograph.
    if image.format != "MPO" and getattr(image, "is_animated", False):
        raise ImageError(
            f"{name}: an animation or several pages; save the frame that is meant as an image of its own"
        )


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode in _SIXTEEN_BIT:
        return _sixteen_bit_to_rgb(image)
    if image.mode in _WITH_ALPHA or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    if image.mode not in _DIRECT:
        raise ImageError(f"{name}: pixels of kind {image.mode!r}; convert it to 8 or 16 bits a channel")
    return image.convert("RGB")


def _sixteen_bit_to_rgb(image: Image.Image) -> Image.Image:
    # Pillow keeps the high byte of 16-bit colour too; its own conversion of 16-bit grey would saturate.
    wide = np.asarray(image)
    grey = (wide >> 8).astype(np.uint8)
    grey[wide == image.info.get("transparency", -1)] = 255
    return Image.fromarray(grey).convert("RGB")
