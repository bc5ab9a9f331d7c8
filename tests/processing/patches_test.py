"""Packing, unpacking and normalising patches, on bytes that tell where they come from."""

import jax.numpy as jnp
import numpy as np
import pytest

from vigorl_jax.processing.images import image_patches, to_device
from vigorl_jax.processing.patches import (
    Patches,
    normalise,
    pack_patches,
    place_patches,
    to_images,
    unpack_patches,
)
from vigorl_jax.processing.patches import _take as take
from vigorl_jax.processing.settings import ImageSettings

SETTINGS = ImageSettings(min_pixels=784, max_pixels=10**6)


def numbered(grid, first, length):
    """Patches of one image whose bytes count up from `first`; zeros behind."""
    count = grid[1] * grid[2]
    rows = np.zeros((length, 588), np.uint8)
    rows[:count] = np.arange(first, first + count)[:, None]
    return Patches(jnp.asarray(rows), (grid,))


def test_images_are_joined_one_after_the_other():
    packed = pack_patches(
        [numbered((1, 4, 6), 1, 24), numbered((1, 2, 2), 100, 8), numbered((1, 2, 4), 200, 10)]
    )
    assert packed.grids == ((1, 4, 6), (1, 2, 2), (1, 2, 4))
    assert packed.count == 36
    first = np.asarray(packed.pixels)[:, 0].tolist()
    assert first == [
        *range(1, 25),
        *range(100, 104),
        *range(200, 208),
        0,
        0,
        0,
        0,
    ]  # 36 patches in a bucket of 40


def test_a_given_length_may_cut_padding_but_no_patch():
    parts = [numbered((1, 2, 2), 1, 8), numbered((1, 2, 2), 50, 8)]
    exact = pack_patches(parts, length=8)
    assert np.asarray(exact.pixels)[:, 587].tolist() == [1, 2, 3, 4, 50, 51, 52, 53]
    assert pack_patches(parts, length=64).pixels.shape == (64, 588)
    with pytest.raises(ValueError, match="8 patches do not fit 7 rows; give a larger length"):
        pack_patches(parts, length=7)
    with pytest.raises(ValueError, match="pack_patches of no images; leave the vision tower out"):
        pack_patches([])


def test_unpacking_gives_back_what_was_packed():
    parts = [numbered((1, 2, 4), 1, 8), numbered((1, 6, 6), 20, 40), numbered((1, 2, 2), 90, 4)]
    for part, back in zip(parts, unpack_patches(pack_patches(parts)), strict=True):
        assert back.grids == part.grids
        np.testing.assert_array_equal(back.pixels, part.pixels)


def test_packing_new_combinations_of_known_sizes_compiles_nothing():
    small, large = numbered((1, 2, 2), 1, 4), numbered((1, 6, 6), 1, 40)
    unpack_patches(pack_patches([small, large], length=128))
    before = place_patches._cache_size(), take._cache_size()
    for parts in ([small], [large, large, small], [small] * 9, [large, small, large]):
        unpack_patches(pack_patches(parts, length=128))
    assert (place_patches._cache_size(), take._cache_size()) == before


def test_normalising_one_pixel_by_hand():
    settings = ImageSettings(mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 2.0))
    pixels = np.zeros((2, 588), np.uint8)
    pixels[0, 0], pixels[0, 196], pixels[0, 392] = 255, 51, 102
    ours = np.asarray(normalise(Patches(jnp.asarray(pixels), ((1, 1, 1),)), settings))
    assert ours.shape == (2, 1176)
    assert not ours[1].any()
    channels = ours[0].reshape(3, 2, 196)
    np.testing.assert_allclose(
        channels[:, 0, 0], [1.0, -0.2, 0.2], atol=1e-6
    )  # (1 - .5) / .5, (.2 - .25) / .25, .4 / 2
    np.testing.assert_array_equal(channels[:, 0], channels[:, 1])
    np.testing.assert_allclose(channels[:2, 0, 1], [-1.0, -1.0])


def test_the_pictures_of_a_pack_are_the_images_that_went_in():
    rng = np.random.default_rng(0)
    shapes = [(56, 84, 3), (28, 28, 3), (84, 140, 3)]
    pictures = [
        rng.integers(0, 256, shape, dtype=np.uint8) for shape in shapes
    ]  # whole units: resized to themselves
    packed = pack_patches([image_patches(to_device(picture), SETTINGS) for picture in pictures])
    for ours, picture in zip(to_images(packed, SETTINGS), pictures, strict=True):
        np.testing.assert_array_equal(ours, picture)
