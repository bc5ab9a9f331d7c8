"""The embeddings of a roll out are kept for the learner, whatever the store has dropped since."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from vigorl_jax.processing.patches import Patches
from vigorl_jax.sampling.image_store import ImageStore
from vigorl_jax.sampling.requests import Image
from vigorl_jax.sampling.seen_images import SeenImages
from vigorl_jax.testing.sampling import IMAGE_SETTINGS, random_image

RNG = np.random.default_rng(0)
IMAGES = [random_image(RNG, grid) for grid in ((1, 4, 6), (1, 6, 6), (1, 4, 4))]


@pytest.fixture
def store(plain):
    """Room for sixteen tokens: the images take 6, 9 and 4."""
    shapes = dataclasses.replace(plain.shapes, image_tokens=16)
    return ImageStore(plain.config, shapes, IMAGE_SETTINGS, jnp.float32)


def test_what_the_store_drops_is_still_found(plain, store):
    seen = SeenImages()
    store.at_version(1, seen)
    for image in IMAGES:
        store.add(plain.params, [image])
        stored = np.asarray(store.embeds[store.rows([image])])
        np.testing.assert_array_equal(seen.find(image.patches), stored)
    assert store.encoded == 3
    assert [len(seen.find(image.patches)) for image in IMAGES] == [6, 9, 4]


def test_equal_images_are_found_by_the_patches_of_each(plain, store):
    copy = Image.of(Patches(IMAGES[0].patches.pixels + 0, IMAGES[0].patches.grids))
    seen = SeenImages()
    store.at_version(1, seen)
    store.add(plain.params, [IMAGES[0]])
    assert seen.find(copy.patches) is None
    store.add(plain.params, [copy])
    assert store.encoded == 1
    np.testing.assert_array_equal(seen.find(copy.patches), seen.find(IMAGES[0].patches))


def test_another_version_fills_nothing_of_the_last(plain, store):
    seen = SeenImages()
    store.at_version(1, seen)
    store.at_version(2)
    store.add(plain.params, IMAGES[:1])
    assert seen.find(IMAGES[0].patches) is None
