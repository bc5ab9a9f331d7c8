"""The one crop: from a call in the model's pixels to a window of the original and the view that it brings.

Windows, offsets and dots are in pixels of the image that is cut: the original, so that a zoom brings real detail, or,
in the `reference` setting, the image already reduced to the model's limits, as the official code does (section 2 of the
reference behaviour). The original always stays on the host as bytes; it is on the device too where there is room for
it, else only its windows travel.
"""

import dataclasses
import enum
import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from PIL import Image

from vigorl_jax.processing import images, patches
from vigorl_jax.processing.frames import (
    MAX_ASPECT_RATIO,
    Box,
    Frame,
    Point,
    map_box,
    map_point,
    round_box,
    round_to_unit,
)
from vigorl_jax.processing.images import DeviceImage
from vigorl_jax.processing.patches import Patches
from vigorl_jax.processing.settings import ImageSettings
from vigorl_jax.reasoning.calls import Zoom
from vigorl_jax.tasks.task import ZoomPreset

_SNAP = 28


class Edges(enum.StrEnum):
    """What becomes of a window that reaches over the border: cut off (and stretched), or moved inside.

    snap moves it inside and to a corner on whole units, so that things lie on patches in a few ways only: a tiny model
    learns to read crops in a fraction of the steps.
    """

    CLAMP = "clamp"
    SHIFT = "shift"
    SNAP = "snap"


class CutFrom(enum.StrEnum):
    """The image that is cut: the original, or the size-limited one of the official code."""

    ORIGINAL = "original"
    REFERENCE = "reference"


@dataclasses.dataclass(frozen=True)
class ZoomSettings:
    """How a call becomes a crop.

    Attributes:
      preset: Half side of the window, side of the crop, dot or none.
      edges: What happens at the border.
      cut_from: The image that is cut, in whose pixels the preset's offset counts.
    """

    preset: ZoomPreset
    edges: Edges = Edges.CLAMP
    cut_from: CutFrom = CutFrom.ORIGINAL


@dataclasses.dataclass(frozen=True)
class View:
    """An image, or a crop of it, as the model sees it. Two views are equal when their frames are.

    Attributes:
      frame: Its pixels, with the window of the original that they show.
      num_tokens: Merged tokens that it takes in the text.
      patches: The same pixels as patches of one image, on the device.
    """

    frame: Frame
    num_tokens: int
    patches: Patches = dataclasses.field(compare=False, repr=False)


def make_view(frame: Frame, view_patches: Patches, settings: ImageSettings) -> View:
    """The view of one image with its number of tokens."""
    return View(frame, settings.num_tokens(view_patches.grids[0]), view_patches)


@dataclasses.dataclass(frozen=True)
class Source:
    """An image that zooms cut from; made by `open_source`.

    Attributes:
      pixels: The image that is cut, uint8 RGB  # [H, W, 3]
      device: The same on the device, or None while there is no room for it.
      frame: The frame of these pixels.
      view: The whole image as the model sees it.
      settings: The model's image settings.
      zoom: How calls become crops.
    """

    pixels: np.ndarray = dataclasses.field(repr=False)
    device: DeviceImage | None = dataclasses.field(repr=False)
    frame: Frame
    view: View
    settings: ImageSettings
    zoom: ZoomSettings


class DeviceRoom:
    """Device memory lent to originals: one that fits what is left stays on the device, else on the host."""

    def __init__(self, limit: int):
        """Takes the limit in bytes; with 0 every original stays on the host."""
        self.left = limit

    def take(self, image: DeviceImage) -> bool:
        """Whether the image may stay; if so, its bytes are taken."""
        fits = image.pixels.nbytes <= self.left
        self.left -= image.pixels.nbytes if fits else 0
        return fits

    def give_back(self, source: Source) -> None:
        """Frees the bytes of a source that no zoom needs any more."""
        self.left += source.device.pixels.nbytes if source.device is not None else 0


def open_source(
    image: np.ndarray, settings: ImageSettings, zoom: ZoomSettings, room: DeviceRoom | None = None
) -> Source:
    """Prepares an original, uint8 RGB [H, W, 3], for the model and for zooms.

    Args:
      image: The original.
      settings: The model's image settings.
      zoom: How calls become crops.
      room: Device memory for originals; without it the image stays on the device.

    Raises:
      ValueError: the image is not uint8 RGB, or `smart_resize` refuses its size.
    """
    height, width = image.shape[:2]
    original = Frame.original(width, height)
    pixels = _limited(image, settings) if zoom.cut_from is CutFrom.REFERENCE else image
    device = images.to_device(pixels)
    frame = original.resized(pixels.shape[1], pixels.shape[0])
    model = settings.model_frame(frame.width, frame.height)
    if (model.width, model.height) == (frame.width, frame.height):
        seen = patches.pack_patches([patches.from_image(pixels, settings)])
    else:
        seen = images.image_patches(device, settings)
    view = make_view(original.resized(model.width, model.height), seen, settings)
    kept = device if room is None or room.take(device) else None
    return Source(pixels, kept, frame, view, settings, zoom)


def _limited(image: np.ndarray, settings: ImageSettings) -> np.ndarray:
    """The image as the official code holds it: resized only when its area is outside of the model's limits."""
    height, width = image.shape[:2]
    if settings.min_pixels <= height * width <= settings.max_pixels:
        return image
    frame = settings.model_frame(width, height)
    resized = Image.fromarray(image).resize((frame.width, frame.height), Image.Resampling.BICUBIC)
    return np.asarray(resized)


def clamped_window(point: Point, size: tuple[int, int], offset: int) -> Box:
    """The square of half side `offset` around a point, less what lies outside of width x height.

    It keeps its point but becomes smaller, and the point is off its centre: in 1920 x 1080 with offset 100,
    (500, 400) gives (400, 300, 600, 500) and (30, 1070) gives (0, 970, 130, 1080). A point far outside gives a strip
    of one pixel: (2500, 400) gives (2400, 300, 2401, 500).
    """
    (x0, x1), (y0, y1) = (_clamped(value, side, offset) for value, side in zip(point, size, strict=True))
    return x0, y0, x1, y1


def shifted_window(point: Point, size: tuple[int, int], offset: int) -> Box:
    """The square of half side `offset` nearest to the point that lies inside width x height.

    In 1920 x 1080 with offset 100, (30, 1070) gives (0, 880, 200, 1080). An axis shorter than the window is shown
    whole.
    """
    (x0, x1), (y0, y1) = (_shifted(value, side, offset) for value, side in zip(point, size, strict=True))
    return x0, y0, x1, y1


def snapped_window(point: Point, size: tuple[int, int], offset: int) -> Box:
    """The square of half side `offset`, inside width x height, whose corner on multiples of 28 is nearest.

    In 448 x 448 with offset 56, (200, 440) gives (140, 336, 252, 448).
    """
    (x0, x1), (y0, y1) = (_snapped(value, side, offset) for value, side in zip(point, size, strict=True))
    return x0, y0, x1, y1


def _clamped(value: int, side: int, offset: int) -> tuple[int, int]:
    low, high = max(0, value - offset), min(side, value + offset)
    return low, max(high, low + 1)


def _shifted(value: int, side: int, offset: int) -> tuple[int, int]:
    low = min(max(0, value - offset), max(0, side - 2 * offset))
    return low, min(side, low + 2 * offset)


def _snapped(value: int, side: int, offset: int) -> tuple[int, int]:
    last = max(0, side - 2 * offset) // _SNAP * _SNAP
    low = min(max(0, round_to_unit(value - offset, _SNAP)), last)
    return low, min(side, low + 2 * offset)


_WINDOWS = {Edges.CLAMP: clamped_window, Edges.SHIFT: shifted_window, Edges.SNAP: snapped_window}


def cut(source: Source, calls: Sequence[tuple[Zoom, Sequence[View]]]) -> list[View]:
    """Carries out calls into one source, all points in one go.

    Args:
      source: The image.
      calls: Each call, with the earlier crops of its episode, which a call may name.

    Returns:
      One view a call: for points a square of `preset.side`, rounded to whole units; for boxes the box in its own
      shape, with the area of that square.

    Raises:
      ValueError: a call names a crop that there is not.
    """
    views: list[View | None] = [None] * len(calls)
    points = [number for number, (call, _) in enumerate(calls) if call.box is None]
    for number, (call, crops) in enumerate(calls):
        if call.box is not None:
            views[number] = _cut_box(source, _box_window(source, call, crops))
    if points:
        placed = [_place(source, *calls[number]) for number in points]
        for number, view in zip(points, _cut_squares(source, placed), strict=True):
            views[number] = view
    return views


def _called_frame(source: Source, call: Zoom, crops: Sequence[View]) -> Frame:
    """The frame in whose pixels a call counts: the view of the whole image, or that of an earlier crop."""
    if call.image > len(crops):
        raise ValueError(f"the call names crop {call.image} of {len(crops)}; parse it with their sizes first")
    return crops[call.image - 1].frame if call.image else source.view.frame


def _place(source: Source, call: Zoom, crops: Sequence[View]) -> tuple[Box, Point]:
    """The window of a point call and the point itself, both in pixels of the image that is cut."""
    make, offset = _WINDOWS[source.zoom.edges], source.zoom.preset.offset
    called = _called_frame(source, call, crops)
    if call.image:
        window = make(call.point, (called.width, called.height), offset)
        x0, y0, x1, y1 = _rounded(map_box(window, called, source.frame))
        # Rounding may add a pixel to a crop of a crop, which would be over the greatest window of the preset.
        window = x0, y0, min(x1, x0 + 2 * offset), min(y1, y0 + 2 * offset)
        return window, map_point(call.point, called, source.frame)
    # The official code takes the model's numbers for pixels of the image that it holds.
    as_is = source.zoom.cut_from is CutFrom.REFERENCE
    point = call.point if as_is else map_point(call.point, called, source.frame)
    return make(point, (source.frame.width, source.frame.height), offset), point


def _rounded(box: tuple[Fraction, ...]) -> Box:
    x0, y0, x1, y1 = round_box(box)
    return x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)


def _cut_squares(source: Source, placed: Sequence[tuple[Box, Point]]) -> list[View]:
    preset, settings = source.zoom.preset, source.settings
    sides = {"side": preset.side, "largest": 2 * preset.offset, "settings": settings}
    windows, points = zip(*placed, strict=True)
    if source.device is not None:
        dots = points if preset.dot else None
        cuts = patches.unpack_patches(images.crop_patches(source.device, windows, dots=dots, **sides))
    else:
        cuts = []
        for window, point in placed:
            part, (left, top) = _window_pixels(source.pixels, window)
            moved = (window[0] - left, window[1] - top, window[2] - left, window[3] - top)
            dots = [(point[0] - left, point[1] - top)] if preset.dot else None
            cuts.append(images.crop_patches(images.to_device(part), [moved], dots=dots, **sides))
    side = round_to_unit(preset.side, settings.unit)
    frames = [_crop_frame(source, window, side, side) for window in windows]
    return [make_view(frame, cut, settings) for frame, cut in zip(frames, cuts, strict=True)]


def _window_pixels(pixels: np.ndarray, window: Box) -> tuple[np.ndarray, Point]:
    """The part of a window inside the image, at least one pixel, and where it begins."""
    height, width = pixels.shape[:2]
    left, top = Frame.original(width, height).clamp(window[:2])
    right, bottom = max(left + 1, min(window[2], width)), max(top + 1, min(window[3], height))
    return pixels[top:bottom, left:right], (left, top)


def _crop_frame(source: Source, window: Box, width: int, height: int) -> Frame:
    original = Frame.original(*source.frame.window[2:])
    return Frame(_rounded(map_box(window, source.frame, original)), width, height)


def _box_window(source: Source, call: Zoom, crops: Sequence[View]) -> Box:
    """The box in pixels of the image that is cut, grown until it can be resized: at least a unit, not too thin."""
    called = _called_frame(source, call, crops)
    window = source.frame.clamp_box(_rounded(map_box(call.box, called, source.frame)))
    x0, y0, x1, y1 = window
    least = max(source.settings.unit, math.ceil(max(x1 - x0, y1 - y0) / MAX_ASPECT_RATIO))
    (x0, x1), (y0, y1) = _grown(x0, x1, least, source.frame.width), _grown(y0, y1, least, source.frame.height)
    return x0, y0, x1, y1


def _grown(low: int, high: int, least: int, side: int) -> tuple[int, int]:
    if high - low >= least:
        return low, high
    low = max(0, min((low + high - least) // 2, side - least))
    return low, min(side, low + least)


def _cut_box(source: Source, window: Box) -> View:
    part, _ = _window_pixels(source.pixels, window)
    area = source.zoom.preset.side**2
    settings = dataclasses.replace(source.settings, min_pixels=area, max_pixels=area)
    model = settings.model_frame(part.shape[1], part.shape[0])
    cut_patches = images.image_patches(images.to_device(part), settings)
    return make_view(_crop_frame(source, window, model.width, model.height), cut_patches, settings)
