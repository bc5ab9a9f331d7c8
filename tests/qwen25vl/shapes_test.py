"""Shapes come from buckets: the number of compilations is bounded, and padding is inert."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vigorl_jax.buckets import bucket
from vigorl_jax.qwen25vl.inputs import text_inputs
from vigorl_jax.qwen25vl.model import bind
from vigorl_jax.qwen25vl.patch_layout import patch_layout
from vigorl_jax.qwen25vl.vision import PatchBatch
from vigorl_jax.testing.comparison import pad_patches
from vigorl_jax.testing.models import random_config, random_dialogue, random_params

CONFIG = random_config(2)
PARAMS = random_params(CONFIG, 2)


def test_buckets_waste_at_most_a_fifth_and_are_few():
    sizes = range(1, 20_000)
    assert all(size <= bucket(size) <= 1.25 * size for size in sizes)
    assert len({bucket(size) for size in sizes}) == 53
    assert [bucket(size) for size in (1, 8, 9, 17, 33, 100)] == [1, 8, 10, 20, 40, 112]
    with pytest.raises(ValueError, match="bucket of 0: a size must be positive"):
        bucket(0)


def test_twenty_images_of_different_sizes_compile_the_tower_once_per_bucket():
    rng = np.random.default_rng(0)
    tower = jax.jit(lambda params, images: bind(CONFIG, params).visual(images))
    buckets = set()
    for _ in range(20):
        grid = (1, *(2 * int(n) for n in rng.integers(1, 16, 2)))
        layout = patch_layout([grid], CONFIG.vision)
        pixels = rng.normal(size=(grid[1] * grid[2], CONFIG.vision.patch_values)).astype(np.float32)
        tower(PARAMS, PatchBatch.from_layout(pad_patches(pixels, layout), layout))
        buckets.add(layout.bucket)
    assert tower._cache_size() == len(buckets) < 20


def test_an_image_has_the_same_embeddings_whatever_it_is_packed_with():
    rng = np.random.default_rng(0)
    grids = [(1, 6, 10), (1, 2, 2), (1, 12, 4)]
    pixels = [rng.normal(size=(h * w, CONFIG.vision.patch_values)).astype(np.float32) for _, h, w in grids]
    tower = jax.jit(lambda params, images: bind(CONFIG, params).visual(images))

    def embeddings(order, rows=None):
        layout = patch_layout([grids[i] for i in order], CONFIG.vision, rows=rows)
        patches = pad_patches(np.concatenate([pixels[i] for i in order]), layout)
        out = np.asarray(tower(PARAMS, PatchBatch.from_layout(patches, layout)))
        return {i: out[slots] for i, slots in zip(order, layout.token_slots, strict=True)}

    alone = {i: embeddings([i])[i] for i in range(3)}
    for together in (embeddings([0, 1, 2]), embeddings([2, 0, 1], rows=5)):
        for i in range(3):
            np.testing.assert_allclose(together[i], alone[i], atol=1e-5)


def test_empty_slots_leave_no_nan_in_values_or_gradients():
    layout = patch_layout([(1, 2, 2)], CONFIG.vision, rows=3)
    patches = pad_patches(np.ones((4, CONFIG.vision.patch_values), np.float32), layout)

    def loss(params):
        out = bind(CONFIG, params).visual(PatchBatch.from_layout(patches, layout))
        return jnp.sum(out[layout.token_slots[0]])

    value, gradient = jax.value_and_grad(loss)(PARAMS)
    assert np.isfinite(value)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_patches_of_another_bucket_are_refused():
    layout = patch_layout([(1, 4, 4)], CONFIG.vision)
    wanted = layout.source.size
    with pytest.raises(ValueError, match=rf"3 patches given, the layout's bucket .* wants {wanted}"):
        PatchBatch.from_layout(jnp.zeros((3, CONFIG.vision.patch_values)), layout)


def test_rows_are_padded_to_the_bucket_of_the_longest_and_say_how_long_they_are():
    rows = [(np.arange(9, dtype=np.int32), []), (np.arange(4, dtype=np.int32), [])]
    inputs = text_inputs(rows, CONFIG)
    assert inputs.tokens.shape == (2, 10)
    assert inputs.lengths.tolist() == [9, 4]
    assert inputs.tokens[1].tolist() == [0, 1, 2, 3, 0, 0, 0, 0, 0, 0]
    assert (inputs.image_slots == -1).all()
    with pytest.raises(ValueError, match="a row of 9 tokens does not fit the length 8"):
        text_inputs(rows, CONFIG, length=8)


def test_image_tokens_of_every_row_point_at_their_own_image():
    rng = np.random.default_rng(0)
    rows = [
        (random_dialogue(rng, CONFIG, grids), grids) for grids in ([(1, 4, 4), (1, 4, 4)], [], [(1, 2, 6)])
    ]
    layout = patch_layout([grid for _, grids in rows for grid in grids], CONFIG.vision)
    inputs = text_inputs(rows, CONFIG, layout)
    for row, first, last in ((0, 0, 2), (1, 2, 2), (2, 2, 3)):
        slots = inputs.image_slots[row][inputs.tokens[row] == CONFIG.image_token_id]
        assert slots.tolist() == [slot for image in layout.token_slots[first:last] for slot in image]
