"""Sampling on a mesh, from the learner's parameters, equals sampling on one device."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vigorl_jax.qwen25vl.sharding import make_mesh, param_shardings
from vigorl_jax.sampling.image_store import ImageStore
from vigorl_jax.sampling.placement import to_sampling
from vigorl_jax.sampling.requests import Stream, TurnSettings
from vigorl_jax.sampling.sampler import Sampler
from vigorl_jax.sampling.scheduler import Scheduler
from vigorl_jax.testing.sampling import IMAGE_SETTINGS, Plan, random_given, random_image, roll_out, stop_at


@pytest.fixture(scope="module")
def mesh():
    return make_mesh(2, 2, 2)


@pytest.fixture(scope="module")
def learned(plain, mesh):
    """The learner's parameters: cut over fsdp and tensor."""
    return jax.device_put(plain.params, param_shardings(plain.config, mesh))


def _plans(config):
    rng = np.random.default_rng(0)
    turns = (TurnSettings(6), TurnSettings(4, temperature=0.0))
    prompts = [random_given(rng, config, grids) for grids in ([(1, 4, 6)], [])]
    return [
        Plan(Stream(0, 0, i, 0), (prompts[i % 2], random_given(rng, config, [(1, 4, 4)])), turns)
        for i in range(4)
    ]


@pytest.mark.parametrize("prefixes", [0, 2])
def test_a_mesh_of_eight_devices_samples_what_one_device_does(plain, mesh, learned, prefixes):
    shapes = dataclasses.replace(plain.shapes, prefixes=prefixes, group=2)
    sampler = Sampler(plain.config, shapes, mesh=mesh)
    images = ImageStore(plain.config, shapes, IMAGE_SETTINGS, jnp.float32, mesh=mesh)
    params = to_sampling(plain.config, mesh, jnp.float32)(learned)
    scheduler = Scheduler(sampler, params, images, stop_at(plain.config))
    on_mesh = [roll_out(scheduler, _plans(plain.config)) for _ in range(2)]
    alone = roll_out(plain.scheduler(stops=stop_at(plain.config)), _plans(plain.config))
    for transcripts in on_mesh:
        for ours, other in zip(transcripts, alone, strict=True):
            assert ours.tokens == other.tokens
            for (_, turn), (_, other_turn) in zip(ours.turns, other.turns, strict=True):
                np.testing.assert_allclose(turn.logprobs, other_turn.logprobs, atol=1e-5)
    cache = scheduler._slots.cache[0].blocks[0].values
    assert cache.sharding.shard_shape(cache.shape)[0] == 1  # four rows over data and fsdp


def test_images_are_shared_out_among_the_devices(plain, mesh, learned):
    rng = np.random.default_rng(0)
    images = [random_image(rng, (1, 4, 6)) for _ in range(4)]
    embeds, held = {}, []
    for where, params in (
        (mesh, to_sampling(plain.config, mesh, jnp.float32)(learned)),
        (None, plain.params),
    ):
        store = ImageStore(plain.config, plain.shapes, IMAGE_SETTINGS, jnp.float32, mesh=where)
        encode = store._encode
        store._encode = lambda *args, encode=encode: held.append(args[2].patches) or encode(*args)
        store.add(params, images)
        embeds[where] = np.asarray(store.embeds)[store.rows(images)]
    np.testing.assert_allclose(embeds[mesh], embeds[None], atol=1e-5)
    spread, whole = held
    assert spread.sharding.shard_shape(spread.shape)[0] * 4 == whole.shape[0]


def test_parameters_are_gathered_over_fsdp_and_stay_cut_over_tensor(plain, mesh, learned):
    kernel = learned["language_model"]["layers"]["0"]["mlp"]["gate"]["kernel"]
    moved = to_sampling(plain.config, mesh, jnp.bfloat16)(learned)
    for old, new in zip(jax.tree.leaves(learned), jax.tree.leaves(moved), strict=True):
        assert new.dtype == jnp.bfloat16
        np.testing.assert_array_equal(np.asarray(new), np.asarray(old.astype(jnp.bfloat16)))
    width, mlp_width = kernel.shape
    cut = moved["language_model"]["layers"]["0"]["mlp"]["gate"]["kernel"]
    assert cut.sharding.shard_shape(cut.shape) == (width, mlp_width // (2 - mlp_width % 2))


def test_parameters_that_lie_right_are_not_copied(plain):
    params = to_sampling(plain.config, None, jnp.float32)(plain.params)
    assert all(a is b for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(plain.params), strict=True))


def test_the_former_copy_is_freed(plain):
    move = to_sampling(plain.config, None, jnp.bfloat16)
    sampled, live = None, []
    for _ in range(3):
        del sampled
        sampled = move(plain.params)
        live.append(len(jax.live_arrays()))
    assert live[0] == live[1] == live[2]
    assert all(leaf.dtype == jnp.bfloat16 for leaf in jax.tree.leaves(sampled))
