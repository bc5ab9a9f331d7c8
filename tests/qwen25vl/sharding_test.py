"""Parameters spread over a mesh give the outputs of one device."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from vigorl_jax.qwen25vl import sharding
from vigorl_jax.qwen25vl.inputs import text_inputs
from vigorl_jax.qwen25vl.model import abstract_params, bind
from vigorl_jax.qwen25vl.patch_layout import patch_layout
from vigorl_jax.qwen25vl.vision import PatchBatch
from vigorl_jax.testing.comparison import pad_patches
from vigorl_jax.testing.models import random_config, random_dialogue, random_params

RANDOM = random_config(7)
# Widths that the meshes divide: 4 query heads, 2 key-value heads, 2 vision heads.
CONFIG = dataclasses.replace(
    RANDOM,
    text=dataclasses.replace(RANDOM.text, mlp_width=96),
    vision=dataclasses.replace(RANDOM.vision, mlp_width=24),
)


def test_every_parameter_has_logical_axes_one_for_each_dimension():
    for key_path, leaf in jax.tree_util.tree_leaves_with_path(abstract_params(CONFIG)):
        assert len(sharding.logical_axes("/".join(key.key for key in key_path))) == leaf.ndim
    with pytest.raises(KeyError, match="no logical axes for the parameter 'visual/novelty'"):
        sharding.logical_axes("visual/novelty")


def test_kernels_are_cut_by_rows_over_fsdp_and_by_heads_over_tensor():
    shardings = sharding.param_shardings(CONFIG, sharding.make_mesh(1, 4, 2))
    layer = shardings["language_model"]["layers"]["0"]
    assert layer["attn"]["o"]["kernel"].spec == PartitionSpec("tensor", "fsdp")
    assert layer["attn"]["k"]["kernel"].spec == PartitionSpec("fsdp", "tensor")
    assert layer["input_norm"]["scale"].spec == PartitionSpec(None)


def test_a_mesh_takes_all_devices():
    with pytest.raises(ValueError, match="data 1 x fsdp 2 x tensor 2 needs 4 devices, 8 are there"):
        sharding.make_mesh(1, 2, 2)


def test_heads_that_the_mesh_does_not_divide_stay_whole():
    shardings = sharding.param_shardings(CONFIG, sharding.make_mesh(1, 1, 8))
    kernel = shardings["language_model"]["layers"]["0"]["attn"]["k"]["kernel"]
    assert CONFIG.text.num_kv_heads % 8
    assert kernel.spec == PartitionSpec("fsdp", None)


@pytest.mark.parametrize("mesh_shape", [(1, 4, 2), (2, 2, 2)])
def test_eight_devices_compute_what_one_does(mesh_shape):
    rng = np.random.default_rng(0)
    params = random_params(CONFIG, 3)
    grids = [[(1, 10, 14)], [], [(1, 2, 2), (1, 6, 6)], []]
    rows = [(random_dialogue(rng, CONFIG, row), row) for row in grids]
    layout = patch_layout([grid for row in grids for grid in row], CONFIG.vision, rows=4)
    pixels = rng.normal(size=(180, CONFIG.vision.patch_values)).astype(np.float32)
    images = PatchBatch.from_layout(pad_patches(pixels, layout), layout)
    inputs = text_inputs(rows, CONFIG, layout)
    arrays = [jnp.asarray(x) for x in (inputs.tokens, inputs.positions, inputs.image_slots)]
    forward = jax.jit(lambda params, images, *arrays: bind(CONFIG, params)(*arrays, images))
    alone = forward(params, images, *arrays)

    mesh = sharding.make_mesh(*mesh_shape)
    rows_first = sharding.batch_sharding(mesh)
    shared = jax.device_put(params, sharding.param_shardings(CONFIG, mesh))
    images = jax.device_put(images, rows_first)
    arrays = jax.device_put(arrays, [rows_first, sharding.batch_sharding(mesh, axis=1), rows_first])
    out = forward(shared, images, *arrays)
    kernel = shared["language_model"]["layers"]["0"]["mlp"]["gate"]["kernel"]
    assert kernel.addressable_shards[0].data.size == kernel.size // (mesh_shape[1] * mesh_shape[2])
    assert len(out.sharding.device_set) == 8
    np.testing.assert_allclose(np.asarray(out), np.asarray(alone), atol=1e-5)
