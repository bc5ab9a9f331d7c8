"""An image is encoded once for its content and the tower's version, and the last ones used are kept."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from vigorl_jax.processing.patches import Patches
from vigorl_jax.qwen25vl.model import bind
from vigorl_jax.qwen25vl.patch_layout import patch_layout
from vigorl_jax.qwen25vl.vision import PatchBatch
from vigorl_jax.sampling.image_store import ImageStore
from vigorl_jax.sampling.requests import Image, SamplingError
from vigorl_jax.testing.sampling import IMAGE_SETTINGS, pixels, random_image

RNG = np.random.default_rng(0)
IMAGES = [random_image(RNG, grid) for grid in ((1, 4, 6), (1, 2, 4), (1, 6, 6), (1, 4, 4))]


@pytest.fixture
def store(plain):
    """Room for twenty tokens: the images take 6, 2, 9 and 4."""
    shapes = dataclasses.replace(plain.shapes, image_tokens=20)
    return ImageStore(plain.config, shapes, IMAGE_SETTINGS, jnp.float32)


def test_embeddings_are_those_of_the_tower(plain, store):
    store.add(plain.params, IMAGES[:3])
    for image in IMAGES[:3]:
        layout = patch_layout([image.grid], plain.config.vision)
        batch = PatchBatch.from_layout(pixels([image], layout.source.size), layout)
        alone = bind(plain.config, plain.params).visual(batch)[layout.token_slots[0]]
        np.testing.assert_allclose(store.embeds[store.rows([image])], alone, atol=1e-5)


def test_equal_images_are_encoded_once_until_the_tower_changes(plain, store):
    copy = Image.of(Patches(IMAGES[0].patches.pixels + 0, IMAGES[0].patches.grids))
    store.at_version(1)
    store.add(plain.params, [IMAGES[0], copy, IMAGES[1]])
    store.add(plain.params, [copy])
    store.at_version(1)
    store.add(plain.params, [IMAGES[0]])
    assert store.encoded == 2
    store.at_version(2)
    store.add(plain.params, [IMAGES[0]])
    assert store.encoded == 3


def test_images_of_equal_bytes_and_other_shapes_differ():
    tall = Image.of(Patches(IMAGES[0].patches.pixels, ((1, 6, 4),)))
    assert tall.key != IMAGES[0].key


def test_the_image_unused_for_longest_makes_room(plain, store):
    store.add(plain.params, IMAGES[:3])
    store.add(plain.params, [IMAGES[0]])
    store.add(plain.params, [IMAGES[3]])  # 4 more tokens than 3 free ones: the second image goes
    assert store.encoded == 4
    store.add(plain.params, [IMAGES[0], IMAGES[2], IMAGES[3]])
    assert store.encoded == 4
    store.add(plain.params, [IMAGES[1]])
    assert store.encoded == 5


def test_images_that_do_not_fit_at_once_are_refused_with_their_numbers(plain, store):
    with pytest.raises(
        SamplingError, match=r"21 new image tokens at once, 20 of 20 kept embeddings can be freed"
    ):
        store.add(plain.params, IMAGES)


def test_an_image_is_one_image():
    both = Patches(IMAGES[0].patches.pixels, ((1, 4, 3), (1, 4, 3)))
    with pytest.raises(ValueError, match="patches of 2 images; wanted one"):
        Image.of(both)
