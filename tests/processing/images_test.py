"""Whole images on the device against Pillow and transformers, and how much is compiled for many sizes."""

import jax
import numpy as np
import pytest
from PIL import Image

from vigorl_jax.processing.decode import decode_image
from vigorl_jax.processing.images import image_patches, to_device
from vigorl_jax.processing.patches import normalise, to_images
from vigorl_jax.processing.resample import tile_shape
from vigorl_jax.processing.settings import ImageSettings

SETTINGS = ImageSettings(min_pixels=3136, max_pixels=200_000)


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def transformers_patches(images, settings):
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    limits = {"shortest_edge": settings.min_pixels, "longest_edge": settings.max_pixels}
    processor = Qwen2VLImageProcessorPil(size=limits, image_mean=settings.mean, image_std=settings.std)
    out = processor(images=[Image.fromarray(image) for image in images], return_tensors="np")
    return np.asarray(out["pixel_values"]), tuple(map(tuple, np.asarray(out["image_grid_thw"]).tolist()))


def random_sizes(count, seed=0):
    rng = np.random.default_rng(seed)
    sizes = np.exp(rng.uniform(np.log(28), np.log(900), (count, 2))).astype(int).tolist()
    return [size for size in sizes if max(size) <= 100 * min(size)]


@pytest.mark.parametrize(
    ("height", "width"),
    [
        (28, 28),
        (448, 448),
        (140, 196),
        (30, 600),
        (600, 30),
        (480, 640),
        (640, 480),
        (29, 2000),
        (1500, 1300),
    ],
)
def test_pixels_equal_pillows_resize_byte_for_byte(height, width):
    image = noise(height, width)
    patches = image_patches(to_device(image), SETTINGS)
    frame = SETTINGS.model_frame(width, height)
    expected = Image.fromarray(image).resize((frame.width, frame.height), Image.Resampling.BICUBIC)
    (ours,) = to_images(patches, SETTINGS)
    np.testing.assert_array_equal(ours, np.asarray(expected))


def test_patches_equal_transformers_within_the_rounding_of_float32():
    for seed, (height, width) in enumerate(random_sizes(12)):
        image = noise(height, width, seed)
        patches = image_patches(to_device(image), SETTINGS)
        expected, grids = transformers_patches([image], SETTINGS)
        ours = np.asarray(normalise(patches, SETTINGS))
        assert patches.grids == grids
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours[: patches.count], expected, rtol=0, atol=5e-7)
        assert not ours[patches.count :].any()


def test_a_photograph_goes_from_file_to_the_patches_of_transformers():
    from matplotlib import cbook

    path = cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    image = decode_image(path)
    assert image.shape == (600, 512, 3)
    settings = ImageSettings(max_pixels=2_850_000)
    patches = image_patches(to_device(image), settings)
    expected, grids = transformers_patches([np.asarray(Image.open(path).convert("RGB"))], settings)
    assert patches.grids == grids == ((1, 42, 36),)
    ours = np.asarray(normalise(patches, settings))[: patches.count]
    np.testing.assert_allclose(ours, expected, rtol=0, atol=5e-7)


def test_other_patch_sizes_keep_the_pixels():
    settings = ImageSettings(
        min_pixels=64, max_pixels=40_000, patch_size=8, merge_size=3, temporal_patch_size=1
    )
    image = noise(100, 150)
    patches = image_patches(to_device(image), settings)
    assert patches.grids == ((1, 12, 18),)
    expected = Image.fromarray(image).resize((144, 96), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(to_images(patches, settings)[0], np.asarray(expected))
    assert normalise(patches, settings).shape[1] == 192


class CompileCounter:
    """Counts the programs that XLA compiles while it is active."""

    def __init__(self):
        self.count, self.active = 0, False
        jax.monitoring.register_event_duration_secs_listener(self._record)

    def _record(self, event, duration, **_):
        self.count += self.active and event == "/jax/core/compile/backend_compile_duration"

    def __enter__(self):
        self.count, self.active = 0, True
        return self

    def __exit__(self, *_):
        self.active = False


@pytest.fixture(scope="module")
def compiles():
    return CompileCounter()


def test_twenty_sizes_compile_at_most_once_per_bucket(compiles):
    sizes = random_sizes(20, seed=3)
    placed = [to_device(noise(height, width)) for height, width in sizes]
    jax.clear_caches()
    with compiles:
        results = [image_patches(image, SETTINGS) for image in placed]
    shapes = [shape_of_resize(image) for image in placed]
    buffers = {(image.pixels.shape, shape) for image, shape in zip(placed, shapes, strict=True)}
    lengths = {(result.pixels.shape, shape) for result, shape in zip(results, shapes, strict=True)}
    # Reading from a buffer; writing into a length, and its zeros; between them seven stages, whatever the image.
    most = (
        len(buffers) + len(lengths) + len({result.pixels.shape for result in results}) + 7 * len(set(shapes))
    )
    assert len(sizes) == 20
    assert len(set(shapes)) <= 5
    assert 0 < compiles.count <= most


def shape_of_resize(image):
    frame = SETTINGS.model_frame(image.width, image.height)
    return tile_shape((image.height, image.width), (frame.height, frame.width), SETTINGS.patch_size)


def test_new_sizes_in_known_buckets_compile_nothing(compiles):
    image_patches(to_device(noise(300, 420)), SETTINGS)
    with compiles:
        for height, width in [(301, 419), (300, 412), (304, 408), (420, 300)]:
            image_patches(to_device(noise(height, width)), SETTINGS)
    assert compiles.count == 0


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4, 3)),
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_other_arrays_are_no_images(image):
    with pytest.raises(ValueError, match=r"an image is uint8 \[H, W, 3\], got"):
        to_device(image)


def test_images_under_one_token_are_refused():
    with pytest.raises(ValueError, match="has a side under 28"):
        image_patches(to_device(noise(20, 100)), SETTINGS)
