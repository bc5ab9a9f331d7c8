"""Zooms into a 12-megapixel image that stays on the device, beside Pillow and NumPy on the same host.

Both sides cut and resize the same windows and put the pixels in the order of patches, first as bytes, as we keep them,
and then normalised to the floats that the network reads. For each preset the bytes are compared, and the programs
compiled are counted over images and windows of other sizes.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence

import jax
import numpy as np
from PIL import Image, ImageDraw

from experiments.benchmarks import timing
from vigorl_jax.processing import images, patches
from vigorl_jax.processing.frames import Box, Point, round_to_unit
from vigorl_jax.processing.patches import Patches
from vigorl_jax.processing.settings import ImageSettings
from vigorl_jax.reasoning.zoom import clamped_window
from vigorl_jax.tasks import visual_search, web_grounding
from vigorl_jax.tasks.task import ZoomPreset

PRESETS = {
    "visual_search_182_672": visual_search.ZOOM,
    "web_grounding_100_512_dot": web_grounding.ZOOM,
    "web_grounding_50_384_dot": web_grounding.RL_ZOOM,
}
_COMPILED = "/jax/core/compile/backend_compile_duration"


@dataclasses.dataclass(frozen=True)
class ZoomBenchmark:
    """Sizes of the measurement: the image, zooms into it, paired repetitions, and other sizes of the same area."""

    width: int = 4000
    height: int = 3000
    zooms: int = 64
    repetitions: int = 7
    other_sizes: tuple[tuple[int, int], ...] = ((3000, 4000), (3900, 3070), (2048, 5632))


def run(sizes: ZoomBenchmark = ZoomBenchmark()) -> dict:
    """Milliseconds for all zooms of each preset on both sides, their difference, and compilations."""
    settings = ImageSettings()
    return {
        "machine": timing.machine(),
        "sizes": dataclasses.asdict(sizes),
        **{name: _preset(preset, sizes, settings) for name, preset in PRESETS.items()},
    }


def _preset(preset: ZoomPreset, sizes: ZoomBenchmark, settings: ImageSettings) -> dict:
    rng = np.random.default_rng(0)
    original = rng.integers(0, 256, (sizes.height, sizes.width, 3), dtype=np.uint8)
    on_device, on_host = images.to_device(original), Image.fromarray(original)
    points = _points(rng, sizes.zooms, sizes.width, sizes.height)

    def ours(image: images.DeviceImage = on_device, points: Sequence[Point] = points) -> Patches:
        cut = _cut(image, points, preset, settings)
        cut.pixels.block_until_ready()
        return cut

    def theirs() -> np.ndarray:
        return np.concatenate(
            [_patchify(crop, settings) for crop in _pillow(on_host, points, preset, settings)]
        )

    with _compilations() as first:
        cut = ours()
    with _compilations() as later:
        for width, height in sizes.other_sizes:
            other = images.to_device(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
            ours(other, _points(rng, sizes.zooms, width, height))
    sides = {
        "bytes": (ours, theirs),
        "floats": (
            lambda: patches.normalise(ours(), settings).block_until_ready(),
            lambda: _normalise(theirs(), settings),
        ),
    }
    return {
        **{
            kind: timing.paired({"ours": one, "pillow_and_numpy": other}, repetitions=sizes.repetitions)
            for kind, (one, other) in sides.items()
        },
        "bytes_equal": bool(np.array_equal(np.asarray(cut.pixels)[: cut.count], theirs())),
        "programs_compiled": len(first),
        "programs_compiled_for_other_sizes_and_windows": len(later),
    }


def _points(rng: np.random.Generator, count: int, width: int, height: int) -> list[Point]:
    return [
        (int(x), int(y))
        for x, y in zip(rng.integers(0, width, count), rng.integers(0, height, count), strict=True)
    ]


def _windows(points: Sequence[Point], width: int, height: int, preset: ZoomPreset) -> list[Box]:
    return [clamped_window(point, (width, height), preset.offset) for point in points]


def _cut(
    image: images.DeviceImage, points: Sequence[Point], preset: ZoomPreset, settings: ImageSettings
) -> Patches:
    windows = _windows(points, image.width, image.height, preset)
    dots = points if preset.dot else None
    sides = {"side": preset.side, "largest": 2 * preset.offset}
    return images.crop_patches(image, windows, dots=dots, settings=settings, **sides)


def _pillow(
    image: Image.Image, points: Sequence[Point], preset: ZoomPreset, settings: ImageSettings
) -> Iterator[np.ndarray]:
    side = round_to_unit(preset.side, settings.unit)
    for point, window in zip(points, _windows(points, *image.size, preset), strict=True):
        crop = image.crop(window)
        if preset.dot:
            x, y, radius = point[0] - window[0], point[1] - window[1], images.DOT_RADIUS
            ellipse = (x - radius, y - radius, x + radius, y + radius)
            ImageDraw.Draw(crop).ellipse(ellipse, fill="red", outline="white", width=images.DOT_OUTLINE)
        yield np.asarray(crop.resize((side, side), Image.Resampling.BICUBIC))


def _patchify(pixels: np.ndarray, settings: ImageSettings) -> np.ndarray:
    """Patches in the model's order, by one transpose, as image processors on NumPy do it."""
    size, merge = settings.patch_size, settings.merge_size
    units = len(pixels) // (size * merge)
    blocks = pixels.reshape(units, merge, size, units, merge, size, 3).transpose(0, 3, 1, 4, 6, 2, 5)
    return blocks.reshape(units**2 * merge**2, -1)


def _normalise(pixels: np.ndarray, settings: ImageSettings) -> np.ndarray:
    area = settings.patch_size**2
    scale = np.repeat(np.float32(1 / 255) / np.float32(settings.std), area)
    shift = np.repeat(np.float32(settings.mean) / np.float32(settings.std), area)
    values = (pixels * scale - shift).reshape(len(pixels), 3, 1, area)
    return np.repeat(values, settings.temporal_patch_size, axis=2).reshape(len(pixels), -1)


@contextlib.contextmanager
def _compilations() -> Iterator[list[float]]:
    """The seconds of each compilation inside of the block."""
    found: list[float] = []

    def listen(event: str, seconds: float, **_: object) -> None:
        if event == _COMPILED:
            found.append(seconds)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield found
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
